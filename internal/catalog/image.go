package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/lazy"
)

// image has a container engine fetch an image, by the docker or podman that is there: it
// knows the user's registries and logins, and keeps the image. The copy in the home says
// only which it is: what is run is named by its digest, which the engine holds it to.
type image struct {
	*work
	path   string
	pulled imageInfo // by resolve
}

// imageInfo is what is read of what an engine says of an image.
type imageInfo struct {
	ID          string   `json:"Id"`
	Digest      string   `json:"Digest"` // podman's
	RepoDigests []string `json:"RepoDigests"`
	OS          string   `json:"Os"`
	Arch        string   `json:"Architecture"`
}

// imageFile is what the copy of an image is.
const imageFile = "image.json"

func (i *image) prepare(context.Context) error {
	_, path, err := lookEngine(i.look)
	i.path = path
	i.env = append(i.env, home.EngineEnv(i.o.Environ)...)
	return err
}

// lookEngine finds a container engine.
func lookEngine(look func(string) (string, error)) (name, path string, err error) {
	for _, name := range []string{"docker", "podman"} {
		if path, err := look(name); err == nil {
			return name, path, nil
		}
	}
	return "", "", berth.WithHint(fmt.Errorf("neither docker nor podman is in the PATH, and one is needed to run an image: %w", os.ErrNotExist),
		"install Docker (https://docs.docker.com/engine/install) or Podman (https://podman.io)")
}

var digestForm = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)

func (i *image) resolve(ctx context.Context, r Request) (*Lock, error) {
	name := r.Package + ":" + cmp.Or(r.Version, "latest")
	digest := ""
	if len(r.Hashes) == 1 {
		digest = r.Hashes[0]
		name = r.Package + "@" + digest
	}
	out, err := i.pull(ctx, name)
	if err != nil {
		return nil, err
	}
	if i.pulled, err = i.inspect(ctx, name); err != nil {
		return nil, err
	}
	if digest = cmp.Or(digest, saidDigest(out), i.pulled.Digest, i.pulled.digestOf(r.Package)); !digestForm().MatchString(digest) {
		return nil, fmt.Errorf("the engine does not say which digest %s has", name)
	}
	return &Lock{
		Package: r.Package, Version: cmp.Or(r.Version, shortDigest(r.Hashes), "latest"), For: i.pulled.OS + "-" + i.pulled.Arch,
		Tree: []Entry{{Name: r.Package, Version: r.Version, Integrity: []string{digest}}}, Tool: filepath.Base(i.path),
	}, nil
}

// shortDigest is what an image without a tag is known by.
func shortDigest(hashes []string) string {
	if len(hashes) != 1 || len(hashes[0]) < 19 {
		return ""
	}
	return hashes[0][7:19]
}

// saidDigest is the line of "docker pull" with the digest of what the tag is.
func saidDigest(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if digest, ok := strings.CutPrefix(line, "Digest: "); ok {
			return strings.TrimSpace(digest)
		}
	}
	return ""
}

// digestOf is the only digest that an image has in its repository; "" if there are several.
func (n *imageInfo) digestOf(name string) (digest string) {
	short := strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
	for _, one := range n.RepoDigests {
		repo, sum, _ := strings.Cut(one, "@")
		if repo != name && repo != short && repo != strings.TrimPrefix(name, "docker.io/") {
			continue
		}
		if digest != "" && digest != sum {
			return ""
		}
		digest = sum
	}
	return digest
}

func (i *image) pull(ctx context.Context, name string) ([]byte, error) {
	layers := 0
	line := func(text string) {
		if strings.HasSuffix(text, ": Pull complete") || strings.HasPrefix(text, "Copying blob ") {
			layers++
			i.o.show("pulling %s: %d layers", name, layers)
		}
	}
	return i.run(ctx, i.dir, line, i.path, "pull", name)
}

func (i *image) inspect(ctx context.Context, name string) (imageInfo, error) {
	out, err := i.run(ctx, i.dir, nil, i.path, "image", "inspect", name)
	if err != nil {
		return imageInfo{}, err
	}
	var list []imageInfo
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 || list[0].ID == "" {
		return imageInfo{}, errors.Join(fmt.Errorf("the engine does not say what %s is", name), err)
	}
	return list[0], nil
}

// imageOf names the image of a lock by its digest.
func imageOf(l *Lock) (string, error) {
	if len(l.Tree) != 1 || len(l.Tree[0].Integrity) != 1 || !digestForm().MatchString(l.Tree[0].Integrity[0]) {
		return "", fmt.Errorf("%w: it does not say which image", ErrLock)
	}
	return l.Package + "@" + l.Tree[0].Integrity[0], nil
}

func (i *image) install(ctx context.Context, l *Lock) error {
	name, err := imageOf(l)
	if err != nil {
		return err
	}
	// What was pulled by its tag is asked for by its digest, too: if that is not it, no
	// start would find it.
	if _, err := i.inspect(ctx, name); err != nil {
		if _, err := i.pull(ctx, name); err != nil {
			return err
		}
	}
	doc, err := json.Marshal(map[string]string{"image": name})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(i.tree, imageFile), append(doc, '\n'), 0o600)
}

// launchImage: the engine runs it. What else its command line has is decided at each
// start; see home.Server.Spec.
func launchImage(c *Copy, look func(string) (string, error)) error {
	name, err := imageOf(c.Lock)
	if err != nil {
		return err
	}
	if c.Command, c.CommandPath, err = lookEngine(look); err != nil {
		return err
	}
	c.Args = []string{"run", "-i", "--rm", name}
	return nil
}
