package bundle

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Bundle is a zip file, and the signature that may follow it.
type Bundle struct {
	r       io.ReaderAt
	content int64  // where the zip file ends
	der     []byte // the signature, nil if there is none
	zip     *zip.Reader
	limits  Limits
}

// ManifestName is the file that says what a bundle is.
const ManifestName = "manifest.json"

// MaxManifest is how many bytes that may have.
const MaxManifest = 1 << 20

// Open reads what is in a zip file of so many bytes. That nothing in it is unsafe is
// known once it is unpacked.
func Open(r io.ReaderAt, size int64, l Limits) (*Bundle, error) {
	if size > MaxArchive {
		return nil, unsafef("it has %d bytes, more than %d", size, int64(MaxArchive))
	}
	b := &Bundle{r: r, limits: l}
	var err error
	if b.content, b.der, err = signed(r, size); err != nil {
		return nil, err
	}
	if err := checkEnd(r, b.content); err != nil {
		return nil, err
	}
	// Package zip takes as many entries as there are, whatever their number is said to be.
	list := &bounded{r: r, left: l.Directory + 1<<20}
	if b.zip, err = zip.NewReader(list, b.content); err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("it is no zip file: %w", err)
	}
	list.open = true
	if len(b.zip.File) > l.Files {
		return nil, unsafef("it has more than %d entries", l.Files)
	}
	return b, nil
}

// bounded is a reader until so much was read of it, or it is opened.
type bounded struct {
	r    io.ReaderAt
	left int64
	open bool
}

func (b *bounded) ReadAt(p []byte, at int64) (int, error) {
	n, err := b.r.ReadAt(p, at)
	if b.left -= int64(n); b.left < 0 && !b.open {
		return 0, unsafef("the list of its entries is too long")
	}
	return n, err
}

// checkEnd refuses a zip file with something behind it: readers disagree on what is in it.
func checkEnd(r io.ReaderAt, size int64) error {
	const least = 22
	tail := make([]byte, min(size, least+1<<16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for i := len(tail) - least; i >= 0; i-- {
		if string(tail[i:i+4]) != "PK\x05\x06" {
			continue
		}
		end := i + least + int(binary.LittleEndian.Uint16(tail[i+20:]))
		if end > len(tail) {
			continue
		}
		if end != len(tail) {
			return unsafef("%d bytes follow its end", len(tail)-end)
		}
		return nil
	}
	return errors.New("it is no zip file")
}

// Manifest returns manifest.json.
func (b *Bundle) Manifest() ([]byte, error) {
	var found *zip.File
	for _, f := range b.zip.File {
		if f.Name == ManifestName {
			if found != nil {
				return nil, unsafef("%q is there twice", ManifestName)
			}
			found = f
		}
	}
	if found == nil {
		return nil, fmt.Errorf("it has no %s, so it is no MCPB bundle", ManifestName)
	}
	if !found.Mode().IsRegular() {
		return nil, unsafef("%q is no file", ManifestName)
	}
	r, err := found.Open()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestName, err)
	}
	defer r.Close()
	doc, err := io.ReadAll(io.LimitReader(r, MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestName, err)
	}
	if len(doc) > MaxManifest {
		return nil, unsafef("%s has more than %d bytes", ManifestName, MaxManifest)
	}
	return doc, nil
}

// Names are those of its files, as they are.
func (b *Bundle) Names() (names []string) {
	for _, f := range b.zip.File {
		if !f.Mode().IsDir() {
			names = append(names, f.Name)
		}
	}
	return names
}

// Unpack writes what is in it into a directory, which must be empty. After an error
// something of it may be there.
func (b *Bundle) Unpack(dir string) error {
	t, err := newTree(dir, b.content, b.limits)
	if err != nil {
		return err
	}
	defer t.root.Close()
	for _, f := range b.zip.File {
		err := t.add(item{
			name: f.Name, mode: modeOf(f),
			link: func() (string, error) { return linkOf(f) },
			read: f.Open,
		})
		if err != nil {
			return err
		}
	}
	return t.finish()
}

// modeOf is the mode of an entry; what was packed where there are none is a plain file.
func modeOf(f *zip.File) fs.FileMode {
	mode := f.Mode()
	if mode.Perm() == 0 {
		mode |= 0o600
	}
	return mode
}

// linkOf reads where a symbolic link leads: that is what its file has in it.
func linkOf(f *zip.File) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	to, err := io.ReadAll(io.LimitReader(r, 4<<10))
	return string(to), err
}
