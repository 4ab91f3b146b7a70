# the words up to the cursor are handed over as one line, since bash takes them apart at = and :
_isoflop() {
    local IFS=$'\n' line="${COMP_LINE:0:$COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" last
    last="${line##* }"
    [[ "$word" == "=" || "$word" == ":" ]] && word=""
    COMPREPLY=($(isoflop --complete "$line" 2>/dev/null))
    # bash has the part before the last = already
    COMPREPLY=("${COMPREPLY[@]#"${last%"$word"}"}")
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *[=./] ]] && compopt -o nospace
}
complete -o default -F _isoflop isoflop
