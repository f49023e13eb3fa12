//go:build !race

package direct

func willWrite() {}

func hasRead(uintptr) {}
