function __isoflop
    isoflop --complete (commandline -cp) 2>/dev/null
end
complete -c isoflop -a '(__isoflop)'
