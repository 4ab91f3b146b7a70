_isoflop() {
    local -a found
    found=("${(@f)$(isoflop --complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -Q -S '' -- $found || _files
}
compdef _isoflop isoflop
