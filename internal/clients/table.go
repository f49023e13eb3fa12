package clients

import (
	"github.com/berth-run/berth/internal/settings"
)

const servers = "mcpServers"

// compared is when the rows were last compared with the documentation of the clients.
const compared = "2026-11-27"

// What many clients say in the same words.
const (
	restart    = "restart it"
	newSession = "start a new session"
	bySelf     = "nothing, it notices by itself"
)

// All is the table, by name. docs/clients.md is made from it.
func All() []Client {
	j, t, y := settings.JSON, settings.TOML, settings.YAML
	return []Client{
		{
			ID: "amazon-q", Title: "Amazon Q Developer CLI",
			Files: []File{user(j, everywhere("~/.aws/amazonq/mcp.json"), servers), project(j, "./.amazonq/mcp.json", servers)},
			Stdio: program(), Reload: "start a new `q chat`",
			Source: "https://docs.aws.amazon.com/amazonq/latest/qdeveloper-ug/command-line-mcp-configuration.html",
			Signs:  []string{"~/.aws/amazonq"}, Programs: []string{"q", "qchat"},
			Note: "it is called Kiro CLI by now; agents with a file of their own read this one if useLegacyMcpJson says so",
		},
		{
			ID: "amp", Title: "Amp",
			Files: []File{user(j, everywhere("~/.config/amp/settings.json", "~/.config/amp/settings.jsonc"), "amp.mcpServers"), project(j, "./.amp/settings.json", "amp.mcpServers")},
			Stdio: program(), HTTP: address("url", "${%}"), Refer: true, Field: "headers.Authorization",
			Reload: newSession, Source: "https://ampcode.com/manual#configuration",
			Signs: []string{"~/.config/amp"}, Programs: []string{"amp"},
			Note: "servers of a project have to be approved: amp mcp approve berth",
		},
		{
			ID: "antigravity", Title: "Google Antigravity",
			Files: []File{user(j, everywhere("~/.gemini/config/mcp_config.json", "~/.gemini/antigravity/mcp_config.json"), servers), project(j, "./.agents/mcp_config.json", servers)},
			Stdio: program(), HTTP: address("serverUrl", ""), Field: "headers.Authorization",
			Reload: "MCP servers › Manage MCP servers › Refresh", Source: "https://antigravity.google/docs/mcp",
			Signs: []string{"~/.gemini/antigravity", "~/.gemini/config"}, Programs: []string{"agy", "antigravity"},
			Tools: 100,
		},
		{
			ID: "auggie", Title: "Augment's Auggie CLI",
			Files: []File{user(j, everywhere("~/.augment/settings.json"), servers)},
			Stdio: program(), HTTP: address("url", "", field("type", "http")), Field: "headers.Authorization",
			Reload: newSession, Source: "https://docs.augmentcode.com/cli/integrations",
			Signs: []string{"~/.augment"}, Programs: []string{"auggie"},
		},
		{
			ID: "claude-code", Checked: compared, Title: "Claude Code",
			Files: []File{user(j, everywhere("{CLAUDE_CONFIG_DIR:~}/.claude.json"), servers), project(j, "./.mcp.json", servers),
				{Scope: Local, Format: j, On: everywhere("{CLAUDE_CONFIG_DIR:~}/.claude.json"), Within: []string{"projects", "{project}", servers}}},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "${%}", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: newSession + ", or /mcp › berth › Reconnect", Rewrites: true,
			Source: "https://code.claude.com/docs/en/mcp",
			Signs:  []string{"{CLAUDE_CONFIG_DIR:~/.claude}/settings.json"}, Programs: []string{"claude"},
			Name: 64,
			Own: &Own{Program: "claude", Args: func(name, text string) []string {
				return []string{"mcp", "add-json", "--scope", "user", name, text}
			}},
			Note: "servers of a project have to be approved once, in the client",
		},
		{
			ID: "claude-desktop", Checked: compared, Title: "Claude Desktop",
			Files: []File{user(j, per("", "~/Library/Application Support/Claude/claude_desktop_config.json", "{APPDATA:~/AppData/Roaming}/Claude/claude_desktop_config.json"), servers)},
			Stdio: program(), Reload: "quit it and open it again; closing the window is not enough",
			Source: "https://modelcontextprotocol.io/docs/develop/connect-local-servers",
			Signs:  []string{"~/Library/Application Support/Claude", "{APPDATA:~/AppData/Roaming}/Claude"},
			Name:   64, Rewrites: true,
			Note: "there is none for Linux; addresses are added as connectors in its settings, not in the file",
		},
		{
			ID: "cline", Title: "Cline",
			Files: []File{user(j, editor("Code", "globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"), servers)},
			Stdio: program(), HTTP: address("url", "", field("type", "streamableHttp")), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://docs.cline.bot/mcp/adding-and-configuring-servers", Rewrites: true,
			Note: "its documentation names the file, not where it is",
		},
		{
			ID: "codex", Checked: compared, Title: "OpenAI Codex",
			Files: []File{user(t, everywhere("{CODEX_HOME:~/.codex}/config.toml"), "mcp_servers"), project(t, "./.codex/config.toml", "mcp_servers")},
			Stdio: program(), HTTP: codexAddress, Refer: true, Field: "bearer_token_env_var",
			Reload: newSession, Source: "https://developers.openai.com/codex/mcp",
			Signs: []string{"{CODEX_HOME:~/.codex}"}, Programs: []string{"codex"},
			Name: 64, Note: "a project's file is read if the project is trusted",
		},
		{
			ID: "continue", Checked: compared, Title: "Continue",
			Files: []File{user(y, everywhere("{CONTINUE_GLOBAL_DIR:~/.continue}/config.yaml"), servers).list("name")},
			Stdio: program(field("type", "stdio")), HTTP: continueAddress, Field: "requestOptions.headers.Authorization",
			Reload: bySelf, Source: "https://docs.continue.dev/customize/deep-dives/mcp",
			Signs: []string{"{CONTINUE_GLOBAL_DIR:~/.continue}"}, Programs: []string{"cn"},
		},
		{
			ID: "copilot-cli", Checked: compared, Title: "GitHub Copilot CLI",
			Files: []File{user(j, everywhere("{COPILOT_HOME:~/.copilot}/mcp-config.json"), servers)},
			Stdio: withTools(program(field("type", "local"))), HTTP: func(r Remote) settings.Entry {
				return append(address("url", "${%}", field("type", "http"))(r), field("tools", []string{"*"}))
			}, Refer: true, Field: "headers.Authorization",
			Reload: newSession, Source: "https://docs.github.com/en/copilot/how-tos/copilot-cli/customize-copilot/add-mcp-servers",
			Signs: []string{"{COPILOT_HOME:~/.copilot}"}, Programs: []string{"copilot"},
		},
		{
			ID: "copilot-jetbrains", Title: "GitHub Copilot in JetBrains IDEs",
			Manual: "in the chat of Copilot choose the agent mode, then Configure tools › Add more tools: mcp.json opens; add the entry under \"servers\"",
			Stdio:  program(field("type", "stdio")), Reload: bySelf,
			Source: "https://docs.github.com/en/copilot/how-tos/provide-context/use-mcp/extend-copilot-chat-with-mcp",
		},
		{
			ID: "crush", Checked: compared, Title: "Crush",
			Files: []File{user(j, per("{XDG_CONFIG_HOME:~/.config}/crush/crush.json", "{XDG_CONFIG_HOME:~/.config}/crush/crush.json", "{LOCALAPPDATA:~/AppData/Local}/crush/crush.json"), "mcp"), project(j, "./crush.json", "mcp")},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "$%", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: restart, Source: "https://github.com/charmbracelet/crush#mcps",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/crush"}, Programs: []string{"crush"},
		},
		{
			ID: "cursor", Title: "Cursor",
			Files: []File{user(j, everywhere("~/.cursor/mcp.json"), servers), project(j, "./.cursor/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", "${env:%}"), Refer: true, Field: "headers.Authorization",
			Reload: "nothing, it notices by itself; a new server is enabled under Settings › MCP",
			Source: "https://cursor.com/docs/context/mcp",
			Signs:  []string{"~/.cursor"}, Programs: []string{"cursor", "cursor-agent"},
			Name: 60,
		},
		{
			ID: "factory", Title: "Factory Droid",
			Files: []File{user(j, everywhere("~/.factory/mcp.json"), servers), project(j, "./.factory/mcp.json", servers)},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "${%}", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: bySelf, Source: "https://docs.factory.ai/cli/configuration/mcp",
			Signs: []string{"~/.factory"}, Programs: []string{"droid"},
		},
		{
			ID: "gemini-cli", Checked: compared, Title: "Gemini CLI",
			Files: []File{user(j, everywhere("{GEMINI_CLI_HOME:~}/.gemini/settings.json"), servers), project(j, "./.gemini/settings.json", servers)},
			Stdio: program(), HTTP: address("httpUrl", "$%"), Refer: true, Field: "headers.Authorization",
			Reload: newSession + ", or /mcp refresh", Source: "https://geminicli.com/docs/tools/mcp-server/",
			Programs: []string{"gemini"},
			Name:     63, Note: "longer names are cut in the middle",
		},
		{
			ID: "goose", Checked: compared, Title: "Goose",
			Files: []File{user(y, per("{XDG_CONFIG_HOME:~/.config}/goose/config.yaml", "~/.config/goose/config.yaml", "{APPDATA:~/AppData/Roaming}/Block/goose/config/config.yaml"), "extensions")},
			Stdio: gooseProgram, HTTP: gooseAddress, Field: "headers.Authorization",
			Reload: newSession, Source: "https://block.github.io/goose/docs/guides/config-files",
			Signs: []string{"~/.config/goose", "{APPDATA:~/AppData/Roaming}/Block/goose"}, Programs: []string{"goose"},
			Rewrites: true,
		},
		{
			ID: "jetbrains-ai", Title: "JetBrains AI Assistant",
			Manual: "open Settings › Tools › AI Assistant › Model Context Protocol (MCP), click Add, choose \"As JSON\" and paste the entry",
			Stdio:  program(), Reload: "click Apply in the settings",
			Source: "https://www.jetbrains.com/help/ai-assistant/mcp.html",
		},
		{
			ID: "junie", Title: "JetBrains Junie",
			Files: []File{user(j, everywhere("~/.junie/mcp/mcp.json"), servers), project(j, "./.junie/mcp/mcp.json", servers)},
			Stdio: program(), Reload: bySelf,
			Source: "https://www.jetbrains.com/help/junie/model-context-protocol-mcp.html",
			Signs:  []string{"~/.junie"}, Programs: []string{"junie"},
		},
		{
			ID: "kilo-code", Checked: compared, Title: "Kilo Code",
			Files: []File{user(j, everywhere("{XDG_CONFIG_HOME:~/.config}/kilo/kilo.json", "{XDG_CONFIG_HOME:~/.config}/kilo/kilo.jsonc"), "mcp"), project(j, "./.kilo/kilo.json", "mcp")},
			Stdio: line("environment", field("type", "local"), field("enabled", true)), HTTP: address("url", "{env:%}", field("type", "remote"), field("enabled", true)), Refer: true, Field: "headers.Authorization",
			Reload: newSession, Source: "https://kilo.ai/docs/automate/mcp/using-in-kilo-code",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/kilo"}, Programs: []string{"kilo"},
			Note: "its extension for VS Code had a file of its own before: kilo-code-legacy",
		},
		{
			ID: "kilo-code-legacy", Title: "Kilo Code for VS Code, as it was",
			Files: []File{user(j, editor("Code", "globalStorage/kilocode.kilo-code/settings/mcp_settings.json"), servers), project(j, "./.kilocode/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", "", field("type", "streamable-http")), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://kilo.ai/docs/automate/mcp/using-in-kilo-code", Rewrites: true,
		},
		{
			ID: "kimi-cli", Checked: compared, Title: "Kimi CLI",
			Files: []File{user(j, everywhere("{KIMI_SHARE_DIR:~/.kimi}/mcp.json"), servers)},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: newSession, Source: "https://moonshotai.github.io/kimi-cli/en/customization/mcp.html",
			Signs: []string{"~/.kimi"}, Programs: []string{"kimi"},
		},
		{
			ID: "kimi-code", Title: "Kimi Code CLI",
			Files: []File{user(j, everywhere("{KIMI_CODE_HOME:~/.kimi-code}/mcp.json"), servers), project(j, "./.kimi-code/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: newSession, Source: "https://www.kimi.com/code/docs/en/kimi-code-cli/customization/mcp.html",
			Signs: []string{"{KIMI_CODE_HOME:~/.kimi-code}"}, Programs: []string{"kimi-code"},
		},
		{
			ID: "kiro", Checked: compared, Title: "Kiro",
			Files: []File{user(j, everywhere("~/.kiro/settings/mcp.json"), servers), project(j, "./.kiro/settings/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", "${%}"), Refer: true, Field: "headers.Authorization",
			Reload: bySelf, Source: "https://kiro.dev/docs/mcp/configuration", Note: "variables in the file have to be approved in its settings",
			Signs: []string{"~/.kiro"}, Programs: []string{"kiro", "kiro-cli"},
		},
		{
			ID: "lm-studio", Title: "LM Studio",
			Files: []File{user(j, everywhere("~/.lmstudio/mcp.json"), servers)},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://lmstudio.ai/docs/app/mcp",
			Signs: []string{"~/.lmstudio"}, Programs: []string{"lms"},
		},
		{
			ID: "mistral-vibe", Checked: compared, Title: "Mistral Vibe",
			Files: []File{user(t, everywhere("{VIBE_HOME:~/.vibe}/config.toml"), "mcp_servers").list("name"), project(t, "./.vibe/config.toml", "mcp_servers").list("name")},
			Stdio: program(field("transport", "stdio")), HTTP: vibeAddress, Refer: true, Field: "api_key_env",
			Reload: restart, Source: "https://docs.mistral.ai/vibe/code/cli/mcp-servers",
			Signs: []string{"{VIBE_HOME:~/.vibe}"}, Programs: []string{"vibe"},
		},
		{
			ID: "opencode", Checked: compared, Title: "OpenCode 2",
			Files: []File{user(j, everywhere("{XDG_CONFIG_HOME:~/.config}/opencode/opencode.json", "{XDG_CONFIG_HOME:~/.config}/opencode/opencode.jsonc"), "mcp", "servers"), project(j, "./opencode.json", "mcp", "servers")},
			Stdio: line("environment", field("type", "local")), HTTP: address("url", "{env:%}", field("type", "remote")), Refer: true, Field: "headers.Authorization",
			Reload: restart, Source: "https://opencode.ai/v2/docs/mcp-servers/",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/opencode"}, Programs: []string{"opencode"},
			Note: "its first version has its entries elsewhere: opencode-1",
		},
		{
			ID: "opencode-1", Checked: compared, OnlyNamed: true, Title: "OpenCode 1",
			Files: []File{user(j, everywhere("{XDG_CONFIG_HOME:~/.config}/opencode/opencode.json", "{XDG_CONFIG_HOME:~/.config}/opencode/opencode.jsonc"), "mcp"), project(j, "./opencode.json", "mcp")},
			Stdio: line("environment", field("type", "local"), field("enabled", true)), HTTP: address("url", "{env:%}", field("type", "remote"), field("enabled", true)), Refer: true, Field: "headers.Authorization",
			Reload: restart, Source: "https://opencode.ai/v1/docs/mcp-servers/",
			Note: "it has the file of opencode, and is not found by --all",
		},
		{
			ID: "qoder", Title: "Qoder",
			Files: []File{user(j, per("~/.qoder/mcp.json", "~/.qoder/mcp.json", "{APPDATA:~/AppData/Roaming}/Qoder/SharedClientCache/mcp.json"), servers)},
			Stdio: program(), HTTP: address("url", "", field("type", "http")), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://docs.qoder.com/user-guide/chat/model-context-protocol",
			Signs: []string{"~/.qoder"}, Programs: []string{"qoder"},
		},
		{
			ID: "qwen-code", Checked: compared, Title: "Qwen Code",
			Files: []File{user(j, everywhere("~/.qwen/settings.json"), servers), project(j, "./.qwen/settings.json", servers)},
			Stdio: program(), HTTP: address("httpUrl", "$%"), Refer: true, Field: "headers.Authorization",
			Reload: newSession, Source: "https://qwenlm.github.io/qwen-code-docs/en/users/features/mcp/",
			Signs: []string{"~/.qwen"}, Programs: []string{"qwen"},
		},
		{
			ID: "roo-code", Title: "Roo Code",
			Files: []File{user(j, editor("Code", "globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json"), servers), project(j, "./.roo/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", "${env:%}", field("type", "streamable-http")), Refer: true, Field: "headers.Authorization",
			Reload: bySelf, Source: "https://docs.roocode.com/features/mcp/using-mcp-in-roo", Rewrites: true,
			Note: "its documentation names the file, not where it is",
		},
		{
			ID: "trae", Title: "Trae",
			Files: []File{user(j, editor("Trae", "mcp.json"), servers), project(j, "./.trae/mcp.json", servers)},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://docs.trae.ai/ide/model-context-protocol",
			Signs: []string{"~/.trae"}, Programs: []string{"trae"},
		},
		{
			ID: "visual-studio", Checked: compared, Title: "Visual Studio",
			Files: []File{user(j, per("", "", "~/.mcp.json"), "servers"), {Scope: Project, Format: j, On: per("", "", "./.mcp.json"), Within: []string{"servers"}}},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "", field("type", "http")), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://learn.microsoft.com/visualstudio/ide/mcp-servers",
			Signs: []string{"~/.mcp.json", "~/AppData/Local/Microsoft/VisualStudio"},
		},
		{
			ID: "vscode", Checked: compared, Title: "Visual Studio Code",
			Files: []File{user(j, editor("Code", "mcp.json"), "servers"), project(j, "./.vscode/mcp.json", "servers")},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "${env:%}", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: "let it start the new server when it asks; else MCP: List Servers › berth › Start", Source: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/Code", "~/Library/Application Support/Code", "{APPDATA:~/AppData/Roaming}/Code"}, Programs: []string{"code"},
			Tools: 128,
			Own:   &Own{Program: "code", Named: true, Args: func(_, text string) []string { return []string{"--add-mcp", text} }},
		},
		{
			ID: "vscode-insiders", Checked: compared, Title: "Visual Studio Code Insiders",
			Files: []File{user(j, editor("Code - Insiders", "mcp.json"), "servers"), project(j, "./.vscode/mcp.json", "servers")},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "${env:%}", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: "let it start the new server when it asks; else MCP: List Servers › berth › Start", Source: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/Code - Insiders", "~/Library/Application Support/Code - Insiders", "{APPDATA:~/AppData/Roaming}/Code - Insiders"}, Programs: []string{"code-insiders"},
			Tools: 128,
			Own:   &Own{Program: "code-insiders", Named: true, Args: func(_, text string) []string { return []string{"--add-mcp", text} }},
		},
		{
			ID: "vscode-server", Title: "Visual Studio Code on a remote machine",
			Files: []File{user(j, everywhere("~/.vscode-server/data/User/mcp.json"), "servers")},
			Stdio: program(field("type", "stdio")), HTTP: address("url", "${env:%}", field("type", "http")), Refer: true, Field: "headers.Authorization",
			Reload: "MCP: List Servers › berth › Start", Source: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
			Signs: []string{"~/.vscode-server"}, Tools: 128,
		},
		{
			ID: "warp", Checked: compared, Title: "Warp",
			Files: []File{user(j, everywhere("~/.warp/.mcp.json"), servers), project(j, "./.warp/.mcp.json", servers)},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: "nothing, it notices by itself; servers of a project are started under Settings › MCP servers", Source: "https://docs.warp.dev/agents/capabilities/mcp",
			Signs: []string{"~/.warp"}, Programs: []string{"warp-terminal", "warp"},
		},
		{
			ID: "windsurf", Title: "Windsurf",
			Files: []File{user(j, everywhere("~/.codeium/windsurf/mcp_config.json"), servers)},
			Stdio: program(), HTTP: address("serverUrl", "${env:%}"), Refer: true, Field: "headers.Authorization",
			Reload: "click Refresh in Settings › Cascade › MCP servers", Source: "https://docs.windsurf.com/windsurf/cascade/mcp",
			Signs: []string{"~/.codeium/windsurf"}, Programs: []string{"windsurf"}, Tools: 100,
		},
		{
			ID: "windsurf-jetbrains", Checked: compared, Title: "Windsurf in JetBrains IDEs",
			Files: []File{user(j, everywhere("~/.codeium/mcp_config.json"), servers)},
			Stdio: program(), HTTP: address("serverUrl", "${env:%}"), Refer: true, Field: "headers.Authorization",
			Reload: "click Refresh in Settings › Tools › Windsurf Settings › MCP servers", Source: "https://docs.windsurf.com/plugins/cascade/mcp",
			Tools: 100,
		},
		{
			ID: "zed", Title: "Zed",
			Files: []File{user(j, per("{XDG_CONFIG_HOME:~/.config}/zed/settings.json", "~/.config/zed/settings.json", "{APPDATA:~/AppData/Roaming}/Zed/settings.json"), "context_servers"), project(j, "./.zed/settings.json", "context_servers")},
			Stdio: program(), HTTP: address("url", ""), Field: "headers.Authorization",
			Reload: bySelf, Source: "https://zed.dev/docs/ai/mcp",
			Signs: []string{"{XDG_CONFIG_HOME:~/.config}/zed", "{APPDATA:~/AppData/Roaming}/Zed"}, Programs: []string{"zed", "zeditor"},
		},
	}
}
