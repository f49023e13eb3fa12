package main

import (
	"github.com/spf13/cobra"
)

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script for a shell",
		Long: `Print a script that lets a shell complete berth's commands, flags and the
names of your servers.

  bash        source <(berth completion bash)      # needs bash-completion
  zsh         berth completion zsh > "${fpath[1]}/_berth"
  fish        berth completion fish > ~/.config/fish/completions/berth.fish
  powershell  berth completion powershell | Out-String | Invoke-Expression`,
		Example:               `  berth completion bash`,
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which shell?").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), a.ui.out
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return usagef("no completion for the shell %q", args[0]).hint("there is bash, zsh, fish and powershell")
		},
	}
}
