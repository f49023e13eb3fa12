package link

import "golang.org/x/sys/unix"

// exchange exchanges two files; done is false where the filesystem cannot.
func exchange(a, b string) (done bool, err error) {
	err = unix.RenamexNp(a, b, unix.RENAME_SWAP)
	if err != nil && cannotExchange(err) {
		return false, nil
	}
	return err == nil, missing(err)
}
