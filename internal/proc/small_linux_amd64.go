package proc

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

func smallInit()
func smallInitAddr() unsafe.Pointer

// It is never called, only copied.
var _ = smallInit

// smallCode is the program of small_linux_amd64.s.
func smallCode() []byte {
	const most = 4096
	code := unsafe.Slice((*byte)(smallInitAddr()), most)
	mark := binary.LittleEndian.AppendUint64(nil, 0x646e652068747265)
	end := bytes.Index(code, mark)
	if end < 0 {
		return nil
	}
	return code[:end]
}

const smallMachine = 62 // EM_X86_64
