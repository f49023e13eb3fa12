package secret

import "bytes"

// Values masks only the values that the Masker was made with, wherever they
// occur in b; everything else stays byte for byte. It is for a server's own
// output, which is not ours to judge by form. The result may share b's memory.
func (m *Masker) Values(b []byte) []byte {
	for _, v := range m.values {
		if bytes.Contains(b, []byte(v)) {
			b = bytes.ReplaceAll(b, []byte(v), []byte(Stars))
		}
	}
	return b
}
