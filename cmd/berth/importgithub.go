package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/github"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

func newImportGitHub(a *app) *cobra.Command {
	var (
		o   installOptions
		ref string
	)
	cmd := &cobra.Command{
		Use:   "import-github OWNER/REPO | URL [--ref REF] [--as SERVER] [--set K=V]… [--secret K]… [--yes]",
		Short: "Install the server of a repository on GitHub",
		Long: `Install the server of a repository on GitHub as its author has published it: at one
commit, read server.json, else berth.toml, package.json or pyproject.toml, and go on as
berth install does, with what that says: what will be run and what it may do is shown,
and done after a yes. Nothing of the repository itself is run, nor built: what is
installed is the package that it names, from npm or PyPI, by its hash, or the URL.

That package must say that it is of this repository: anybody can write any name into a
package.json. One that says something else, or is not published, is not installed. Where
the version of the repository is not published yet, the newest that is is taken.

--ref is a branch, a tag or a commit (default: what the repository shows first). The token
for private repositories, and for more than some 60 questions in an hour, is taken from
GITHUB_TOKEN or GH_TOKEN, GITHUB_API_URL names another API than that of github.com. The
other flags are those of berth install.

Exit codes: 0 installed, 1 failed (also: it was installed and its first run failed), 2
usage, a setting has no value, or nobody was there to say yes, 4 installed, but the
policy does not let it run.`,
		Example: "  berth import-github someone/weather-mcp\n  berth import-github https://github.com/someone/weather-mcp --ref v1.2.0 --as weather --yes",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which repository?").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importGitHub(cmd.Context(), args[0], ref, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&ref, "ref", "", "the branch, tag or commit (`ref`)")
	f.StringVar(&o.as, "as", "", "what the `server` is called here")
	f.StringArrayVar(&o.set, "set", nil, "`K=V`: a setting; may be repeated")
	f.StringArrayVar(&o.secrets, "secret", nil, "`K`, K=env:VARIABLE or K=file:PATH: a setting that is a secret; may be repeated")
	f.StringArrayVar(&o.allow, "allow", nil, "let it do that (`permission`); may be repeated")
	f.StringVar(&o.profile, "profile", "", "how tightly it is confined: off, standard or strict (`word`; default "+string(home.NewProfile)+")")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask whether to install it")
	f.BoolVar(&o.noRun, "no-run", false, "do not run it now")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long its first run may take until it answers")
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfileWords())
	return cmd
}

func (a *app) importGitHub(ctx context.Context, text, ref string, o installOptions) error {
	r, err := github.Parse(text)
	if err != nil {
		return usagef("%v", err).hintFrom(err)
	}
	r.Ref = cmp.Or(ref, r.Ref)
	client, err := githubClient()
	if err != nil {
		return err
	}
	commit, err := client.Commit(ctx, r)
	if err != nil {
		return err
	}
	e, file, err := a.entryOf(ctx, client, r, commit)
	if err != nil {
		return err
	}
	a.ui.say("%s at %s: %s", r, commit[:12], file)
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.unstage()
	if err := publishedBy(ctx, r, &e, a.ui); err != nil {
		return err
	}
	e.Repository = cmp.Or(e.Repository, "https://github.com/"+r.String())
	return a.installEntry(ctx, s, e, text, o)
}

func githubClient() (*github.Client, error) {
	base := cmp.Or(os.Getenv("GITHUB_API_URL"), github.Default)
	client, err := guard.New(base, &guard.Options{Header: 30 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("GITHUB_API_URL: %w", err)
	}
	client.Timeout = documentTimeout
	return &github.Client{HTTP: client, Base: base, Token: cmp.Or(os.Getenv("GITHUB_TOKEN"), os.Getenv("GH_TOKEN")), UserAgent: "berth/" + berth.Version}, nil
}

// entryOf is what the files of a repository say of its server: the first of them that
// names something that can be installed.
func (a *app) entryOf(ctx context.Context, c *github.Client, r github.Repository, commit string) (listing.Entry, string, error) {
	var why []string
	for _, file := range listing.RepositoryFiles() {
		doc, err := c.File(ctx, r, commit, file)
		if errors.Is(err, github.ErrNoFile) {
			continue
		}
		if err != nil {
			return listing.Entry{}, "", err
		}
		all, err := listing.OfRepository(strings.ToLower(r.Name), file, doc)
		if err != nil {
			why = append(why, file+": "+err.Error())
			continue
		}
		if e := all[0]; e.Unusable == "" {
			if file == "server.json" {
				e.From = listing.FromFile + ":https://raw.githubusercontent.com/" + r.String() + "/" + commit + "/" + file
			}
			return e, file, nil
		}
		why = append(why, file+": "+all[0].Unusable)
	}
	if len(why) == 0 {
		return listing.Entry{}, "", berth.WithHint(fmt.Errorf("%s has none of %s", r, strings.Join(listing.RepositoryFiles(), ", ")), "what it says of itself may name a package: berth install npm:NAME or pypi:NAME")
	}
	return listing.Entry{}, "", berth.WithHint(fmt.Errorf("nothing that %s names can be installed: %s", r, printable(strings.Join(why, "; "))), "clone it, build it as its author says, and `berth add NAME -- COMMAND`")
}

// publishedBy returns an error unless the package of an entry is published, and says of
// itself that it is of that repository.
func publishedBy(ctx context.Context, r github.Repository, e *listing.Entry, u *ui) error {
	var pages []string
	var version string
	var err error
	switch e.Kind {
	case listing.NPM:
		version, pages, err = npmPackage(ctx, e.Package, e.Version)
	case listing.PyPI:
		version, pages, err = pypiPackage(ctx, e.Package, e.Version)
	default:
		return nil
	}
	switch {
	case errors.Is(err, errUnpublished):
		return berth.WithHint(fmt.Errorf("%s is not published on %s", e.Package, e.Kind), "clone it, build it as its author says, and `berth add NAME -- COMMAND`")
	case err != nil:
		return fmt.Errorf("look for %s on %s: %w", e.Package, e.Kind, err)
	case !slices.ContainsFunc(pages, r.Names):
		return berth.WithHint(fmt.Errorf("%s on %s is of %s, not of %s", e.Package, e.Kind, printable(orNone(pages, "no repository that it names")), r), "if that is what you want: berth install "+string(e.Kind)+":"+e.Package)
	}
	if e.Version != "" && e.Version != version {
		u.note("%s %s is not published yet: %s is the newest that is", e.Package, e.Version, version)
		e.Hashes = nil
	}
	e.Version = version
	return nil
}

var errUnpublished = errors.New("there is no such package")

// npmPackage asks the registry for a version of a package, else for the newest.
func npmPackage(ctx context.Context, name, version string) (string, []string, error) {
	base := strings.TrimRight(cmp.Or(os.Getenv("npm_config_registry"), "https://registry.npmjs.org"), "/")
	var p struct {
		Version    string          `json:"version"`
		Repository json.RawMessage `json:"repository"`
	}
	err := errUnpublished
	for _, want := range []string{version, "latest"} {
		if want == "" {
			continue
		}
		if err = getJSON(ctx, base+"/"+strings.Replace(url.PathEscape(name), "%40", "@", 1)+"/"+url.PathEscape(want), &p); !errors.Is(err, errUnpublished) {
			break
		}
	}
	if err != nil {
		return "", nil, err
	}
	var page string
	var whole struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(p.Repository, &page) != nil && json.Unmarshal(p.Repository, &whole) == nil {
		page = whole.URL
	}
	return p.Version, nonEmpty(page), nil
}

// pypiPackage asks PyPI's JSON API for a version of a package, else for the newest.
func pypiPackage(ctx context.Context, name, version string) (string, []string, error) {
	var p struct {
		Info struct {
			Version  string            `json:"version"`
			HomePage string            `json:"home_page"`
			URLs     map[string]string `json:"project_urls"`
		} `json:"info"`
	}
	err := errUnpublished
	for _, path := range []string{"/" + version, ""} {
		if path == "/" {
			continue
		}
		if err = getJSON(ctx, "https://pypi.org/pypi/"+url.PathEscape(name)+path+"/json", &p); !errors.Is(err, errUnpublished) {
			break
		}
	}
	pages := nonEmpty(p.Info.HomePage)
	for _, page := range p.Info.URLs {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	return p.Info.Version, pages, err
}

// mostJSON bounds an answer of a registry, in bytes.
const mostJSON = 16 << 20

func getJSON(ctx context.Context, at string, to any) error {
	client, err := guard.New(at, &guard.Options{Header: 30 * time.Second})
	if err != nil {
		return err
	}
	client.Timeout = documentTimeout
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "berth/"+berth.Version)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(io.LimitReader(resp.Body, mostJSON)).Decode(to)
	case http.StatusNotFound:
		return errUnpublished
	}
	return fmt.Errorf("HTTP %d", resp.StatusCode)
}
