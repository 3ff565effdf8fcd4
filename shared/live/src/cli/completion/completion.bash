# bash completion of kubectl-gitlab_agent, called by its own name.
__gitlab_agent_complete() {
    local word=${COMP_WORDS[COMP_CWORD]} line out description
    # bash splits at = and :, which are parts of our words.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword cur prev
        _get_comp_words_by_ref -n =: cur prev words cword
        word=$cur
        out=$("${words[0]}" __complete "${words[@]:1:cword-1}" "$word" 2>/dev/null) || return 0
    else
        out=$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$word" 2>/dev/null) || return 0
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :0) compopt -o default ;;
        :*) ;;
        *)
            description=${line%%$'\t'*}
            COMPREPLY+=("$description")
            ;;
        esac
    done <<<"$out"
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$word"
    fi
}
complete -F __gitlab_agent_complete PROGRAMS
