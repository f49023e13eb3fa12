package autostart

import (
	"html"
	"path/filepath"
	"strings"
)

// launchd is the plan for a launchd agent (launchd.plist(5)). Berth listens by
// itself: launchd passes sockets on by a call of the C library alone.
func launchd(j Job, s System) Plan {
	label := "run." + j.Name
	path := filepath.Join(s.Home, "Library", "LaunchAgents", label+".plist")
	var words strings.Builder
	for _, w := range append([]string{j.Program}, j.Args...) {
		words.WriteString("\t\t<string>" + xmlText(w) + "</string>\n")
	}
	domain := "gui/" + s.User
	load := []string{"launchctl", "bootstrap", domain, path}
	unload := []string{"launchctl", "bootout", domain + "/" + label}
	return Plan{
		Manager: "launchd", Units: []string{label},
		Probe:     []string{"launchctl", "print", domain},
		NoManager: "log in to the desktop as this user",
		Files: []File{{Path: path, Text: `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by berth service install. -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + xmlText(label) + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>AbandonProcessGroup</key>
	<true/>
	<key>ProcessType</key>
	<string>Background</string>
	<key>StandardErrorPath</key>
	<string>` + xmlText(j.Log) + `</string>
	<key>StandardOutPath</key>
	<string>` + xmlText(j.Log) + `</string>
</dict>
</plist>
`}},
		Load: [][]string{load}, Reload: [][]string{unload, load},
		Unload: [][]string{unload},
		Show:   []string{"launchctl", "print", domain + "/" + label},
	}
}

// xmlText is a text as XML has it. Package html escapes what package encoding/xml
// does, which each shim would pay for with 19 kB, of names that are HTML's.
func xmlText(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xfffe || r == 0xffff {
			return '\ufffd' // no text of XML has these
		}
		return r
	}, s))
}
