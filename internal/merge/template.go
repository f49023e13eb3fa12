package merge

import (
	"regexp"

	"github.com/yosida95/uritemplate/v3"
)

// Template is a template of URIs (RFC 6570) as what it matches.
type Template struct{ re *regexp.Regexp }

// ParseTemplate returns an error if a text is no template.
func ParseTemplate(text string) (Template, error) {
	t, err := uritemplate.New(text)
	if err != nil {
		return Template{}, err
	}
	return Template{t.Regexp()}, nil
}

// Matches says whether a URI is one that the template can be expanded to.
func (t Template) Matches(uri string) bool { return t.re != nil && t.re.MatchString(uri) }
