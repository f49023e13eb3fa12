package listing

import (
	"slices"
	"strings"
	"testing"
)

// strangers are servers as a registry has them, with names and descriptions such as
// authors give them: next to those of the catalogue, and in their way.
func strangers() Catalogue {
	var list Catalogue
	for _, line := range []string{
		"io.github.someone/github-stars|Count the stars of a repository on GitHub",
		"io.github.other/github|An unofficial server for GitHub",
		"com.example/postgres-pro|Tune, explain and query a PostgreSQL database",
		"io.github.third/mcp-postgress|Postgress databases",
		"io.github.fourth/browser|A browser for agents",
		"com.example/files-cloud|Upload files to our cloud, read files of others",
		"io.github.fifth/everything-search|Search files with Everything on Windows",
		"com.example/weather|Forecasts and current weather anywhere",
		"com.example/kubernetes|Pods, deployments and logs of a Kubernetes cluster",
		"com.example/mail|Read and send e-mail by IMAP and SMTP",
		"io.github.sixth/slack-notify|Notify a channel of Slack",
		"com.example/gitlab-mirror|Mirror repositories between GitHub and GitLab",
		"io.github.seventh/time-machine|Backups, and the time they took",
		"io.github.eighth/x|memory browser github files search postgres web database",
	} {
		name, about, _ := strings.Cut(line, "|")
		list = append(list, Entry{Name: name, About: about, From: FromRegistry})
	}
	return list
}

// others is a source that is trusted less.
type others struct{ Catalogue }

func (o others) Find(q Query, most int) ([]Hit, int) {
	hits, all := o.Catalogue.Find(q, most)
	for i := range hits {
		if hits[i].Score > lookedAt && q.Strong(hits[i].Score-lookedAt) {
			hits[i].Score -= lookedAt
		}
	}
	return hits, all
}

// TestSearch: what people type, and what is to be the first answer (one of those, after
// a "|"), and what among the first five.
func TestSearch(t *testing.T) {
	all, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ query, first, among string }{
		{"github", "github", "io.github.other/github"},
		{"gh", "github", ""},
		{"GitHub", "github", ""},
		{"gihtub", "github", ""},
		{"mcp server github", "github", ""},
		{"github issues", "github", ""},
		{"files", "filesystem", ""},
		{"read files", "filesystem", ""},
		{"file system", "filesystem", ""},
		{"folders", "filesystem", ""},
		{"postgres", "com.example/postgres-pro", ""},
		{"postgresql", "com.example/postgres-pro", ""},
		{"postgress", "io.github.third/mcp-postgress", "com.example/postgres-pro"},
		{"browser", "playwright|chrome-devtools", "chrome-devtools io.github.fourth/browser"},
		{"browser automation", "playwright", ""},
		{"playwrigth", "playwright", ""},
		{"k8s", "com.example/kubernetes", ""},
		{"kuberntes", "com.example/kubernetes", ""},
		{"memory", "memory", ""},
		{"memroy", "memory", ""},
		{"knowledge graph", "memory", ""},
		{"remember things", "memory", ""},
		{"jira", "atlassian", ""},
		{"confluence pages", "atlassian", ""},
		{"slack", "slack", "io.github.sixth/slack-notify"},
		{"web search", "brave-search", "tavily duckduckgo"},
		{"fetch a web page", "fetch", ""},
		{"time", "time", "io.github.seventh/time-machine"},
		{"time zone", "time", ""},
		{"timezones", "time", ""},
		{"spreadsheets", "excel", ""},
		{"word documents", "word", ""},
		{"sql database", "mysql|clickhouse|duckdb", "mysql clickhouse duckdb"},
		{"mongo", "mongodb", ""},
		{"redis cache", "redis", ""},
		{"email", "com.example/mail", ""},
		{"weather forecast", "com.example/weather", ""},
		{"docs of a library", "context7", ""},
		{"youtube", "youtube-transcript", ""},
		{"papers", "papers", "arxiv"},
		{"payments", "stripe", ""},
		{"screenshots", "playwright|chrome-devtools", "chrome-devtools"},
		{"git", "git", ""},
		{"git commit", "git", ""},
		{"sequential thinking", "sequential-thinking", ""},
		{"stock prices", "finance", ""},
		{"obsidian notes", "obsidian", ""},
		{"text to speech", "elevenlabs", ""},
		{"everything", "everything", "io.github.fifth/everything-search"},
		{"@playwright/mcp", "playwright", ""},
		{"server-filesystem", "filesystem", ""},
		{"com.example/weather", "com.example/weather", ""},
	} {
		hits, _ := Search(c.query, 20, Catalogue(all), others{strangers()})
		var got []string
		for _, h := range hits {
			got = append(got, h.Entry.Name)
		}
		if len(got) == 0 || !slices.Contains(strings.Split(c.first, "|"), got[0]) {
			t.Errorf("%q finds %q, not %s first", c.query, got, c.first)
			continue
		}
		for _, name := range strings.Fields(c.among) {
			if !slices.Contains(got[:min(5, len(got))], name) {
				t.Errorf("%q finds %q, without %s among the first", c.query, got, name)
			}
		}
	}
	for _, query := range []string{"", "zzzzqqqq", "memory zzzzqqqq", "!!", "mcp zzzzqqqq"} {
		if hits, n := Search(query, 20, Catalogue(all), others{strangers()}); len(hits) > 0 || n > 0 {
			t.Errorf("%q finds %s", query, hits[0].Entry.Name)
		}
	}
	// Most words are enough where nothing has all, and what is counted is all there is.
	if hits, n := Search("memory graph zzzzqqqq", 1, Catalogue(all)); len(hits) != 1 || hits[0].Entry.Name != "memory" || n < 1 {
		t.Errorf("%v, %d", hits, n)
	}
	if hits, n := Search("search", 2, Catalogue(all), others{strangers()}); len(hits) != 2 || n < 6 {
		t.Errorf("%d of %d", len(hits), n)
	}
}

// FuzzSearch: whatever is asked, the needles of the query are in all that answers it.
func FuzzSearch(f *testing.F) {
	for _, seed := range []string{"github", "memroy", "gh files zzzz", "é ü", "a\tb\n", "postgress"} {
		f.Add(seed, "io.github.a/b", "Files and folders of GitHub")
	}
	f.Fuzz(func(t *testing.T, query, name, about string) {
		e := Entry{Name: name, About: about}
		text := e.Text()
		for _, q := range []Query{NewQuery(query), NewQuery(query).Near(text.Words()), NewQuery(query).Near(text.Words()).Some()} {
			has := !slices.ContainsFunc(q.Needles(), func(list []string) bool {
				return !slices.ContainsFunc(list, func(n string) bool {
					return strings.Contains(text.Name+"\t"+text.Title+"\t"+text.Tags+"\t"+text.About, n)
				})
			})
			if score := q.Score(text); score < 0 || score > 0 && !has {
				t.Fatalf("%q scores %d for %q, without one of each of %q", query, score, text, q.Needles())
			}
		}
	})
}
