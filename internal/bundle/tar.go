package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// UnpackTar writes what is in a tar.gz file of so many bytes into a directory, which must
// be empty. After an error something of it may be there.
func UnpackTar(r io.Reader, size int64, dir string, l Limits) error {
	if size > MaxArchive {
		return unsafef("it has %d bytes, more than %d", size, int64(MaxArchive))
	}
	t, err := newTree(dir, size, l)
	if err != nil {
		return err
	}
	defer t.root.Close()
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("it is no gzip file: %w", err)
	}
	// Headers, and what is passed over, count as well.
	list := tar.NewReader(&counted{r: unzipped, left: t.most + int64(l.Files)*1024})
	for {
		h, err := list.Next()
		if errors.Is(err, io.EOF) {
			return t.finish()
		}
		if err != nil {
			return fmt.Errorf("it is no tar.gz file: %w", err)
		}
		mode := fs.FileMode(h.Mode) & fs.ModePerm
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir:
			mode |= fs.ModeDir
		case tar.TypeSymlink:
			mode |= fs.ModeSymlink
		case tar.TypeXGlobalHeader: // what git archive says of the commit
			continue
		default:
			return unsafef("%.120q is neither a file nor a directory nor a symbolic link", h.Name)
		}
		err = t.add(item{
			name: h.Name, mode: mode,
			link: func() (string, error) { return h.Linkname, nil },
			read: func() (io.ReadCloser, error) { return io.NopCloser(list), nil },
		})
		if err != nil {
			return err
		}
	}
}

// counted is a reader of which no more may be read than so much.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, unsafef("it is larger than it may be once unpacked")
	}
	return n, err
}
