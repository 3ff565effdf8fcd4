# fish completion of kubectl-gitlab_agent, called by its own name.
function __gitlab_agent_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l out ($words[1] __complete $words[2..-1] "$last" 2>/dev/null)
    or return 0
    if test "$out[-1]" = ":0"
        __fish_complete_path "$last"
        return 0
    end
    for line in $out
        string match -q ':*' -- $line; or echo $line
    end
end
for program in PROGRAMS
    complete -c $program -f -a '(__gitlab_agent_complete)'
end
