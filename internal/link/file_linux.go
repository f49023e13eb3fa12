package link

import "golang.org/x/sys/unix"

// exchange exchanges two files; done is false where the filesystem cannot.
func exchange(a, b string) (done bool, err error) {
	err = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err != nil && cannotExchange(err) {
		return false, nil
	}
	return err == nil, missing(err)
}
