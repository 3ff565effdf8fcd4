# PowerShell completion of kubectl-gitlab_agent, called by its own name.
$gitlabAgentComplete = {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | ForEach-Object { $_.Extent.Text })
    $before = @($words | Select-Object -Skip 1)
    if ($wordToComplete -ne '' -and $before.Count -gt 0) {
        $before = @($before | Select-Object -SkipLast 1)
    }
    # An empty last argument is dropped by older versions of PowerShell unless it is written as quotes.
    $last = if ($wordToComplete -eq '' -and $PSVersionTable.PSVersion -lt [version]'7.3.0') { '""' } else { $wordToComplete }
    & $words[0] __complete @before $last 2>$null | Where-Object { $_ -notmatch '^:\d+$' } | ForEach-Object {
        $word, $help = $_ -split "`t", 2
        if (-not $help) { $help = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $help)
    }
}
foreach ($program in @(PROGRAMS)) {
    Register-ArgumentCompleter -Native -CommandName $program -ScriptBlock $gitlabAgentComplete
}
