package find

import "strings"

// thesaurus returns, for a word of a request, other words that a tool may have for
// the same, all as stems. It has what is common to tools of all kinds: what people
// say for what interfaces say, short forms, and the names of the oldest commands.
func thesaurus() map[string][]string {
	alike := map[string][]string{}
	for _, line := range []string{
		// What is done.
		"create make new add insert",
		"delete remove erase discard clear forget rm",
		"get fetch retrieve read show load view display return",
		"find search look locate query lookup grep",
		"list show enumerate ls",
		"edit change modify update replace alter",
		"write save store record",
		"remember memory store note",
		"send post submit emit",
		"run execute start launch trigger invoke",
		"stop end cancel close quit",
		"move rename mv",
		"copy duplicate clone cp",
		"go navigate visit open goto",
		"click press push hit tap",
		"type enter input fill",
		"select choose pick",
		"wait pause sleep delay",
		"compress zip gzip pack",
		"connect link relate join",
		"check verify validate test",
		"turn toggle switch enable disable",
		"repeat echo",
		"think reason reflect plan",
		"capture screenshot snapshot",
		// What it is done to.
		"folder directory dir path",
		"mkdir directory",
		"ls directory",
		"cat read file",
		"picture image photo logo",
		"audio sound music",
		"page site website web url",
		"link url relation",
		"fact observation note",
		"person people user entity",
		"node entity",
		"environment env variable",
		"sum total plus add",
		"size large big small length bytes",
		"information info detail metadata",
		"structure tree hierarchy",
		"error exception failure fail",
		"window screen viewport",
		"popup dialog alert prompt",
		"dropdown option menu",
		"form field",
		"documentation doc manual reference",
		"library package module dependency",
		"code script snippet program",
		"mail email message",
		"issue ticket bug",
		"repository repo project",
		"database db table",
		"configuration config setting",
		"account user member",
		"event meeting appointment calendar",
		"all every everything entire whole complete",
		"many multiple several",
		"js javascript",
		"llm model",
	} {
		group := strings.Fields(line)
		for i := range group {
			group[i] = stem(group[i])
		}
		for _, word := range group {
			for _, other := range group {
				if other != word {
					alike[word] = append(alike[word], other)
				}
			}
		}
	}
	return alike
}
