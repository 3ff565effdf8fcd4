#compdef PROGRAMS
# zsh completion of kubectl-gitlab_agent, called by its own name.
__gitlab_agent_complete() {
    local line word description
    local -a candidates
    local directive=4
    local out
    out=$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null) || return 0
    while IFS= read -r line; do
        case $line in
        :*) directive=${line#:} ;;
        *)
            word=${line%%$'\t'*}
            description=${line#*$'\t'}
            [[ $description == "$line" ]] && description=
            candidates+=("${word//:/\\:}${description:+:$description}")
            ;;
        esac
    done <<<"$out"
    if (( ${#candidates} )); then
        _describe 'completions' candidates
    elif [[ $directive == 0 ]]; then
        _files
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef __gitlab_agent_complete PROGRAMS
