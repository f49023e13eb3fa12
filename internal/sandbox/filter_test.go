package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

// trapData is struct seccomp_data.
type trapData struct {
	arch, number uint32
	args         [6]uint64
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface{ Fatal(...any) }

// run runs a filter once.
func run(t fataler, program []instruction, d trapData) uint32 { return machine(t, program)(d) }

// machine returns a filter in the machine of x/net/bpf, which is not ours and not the
// kernel's. That machine reads words big-endian, so they are laid out so.
func machine(t fataler, program []instruction) func(trapData) uint32 {
	var raw []bpf.RawInstruction
	for _, i := range program {
		raw = append(raw, bpf.RawInstruction{Op: i.code, Jt: i.jt, Jf: i.jf, K: i.k})
	}
	decoded, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has an instruction that x/net/bpf does not know")
	}
	vm, err := bpf.NewVM(decoded)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	return func(d trapData) uint32 {
		binary.BigEndian.PutUint32(data[0:], d.number)
		binary.BigEndian.PutUint32(data[4:], d.arch)
		for i, a := range d.args {
			binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
			binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
		}
		result, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(result)
	}
}

// model says what the filter must decide, from the text of the specification and by
// the names of calls.
func model(r rules, goarch string, d trapData, nameOf map[uint32]string) string {
	if goarch == "amd64" && d.arch != auditAMD64 || goarch == "arm64" && d.arch != auditARM64 {
		return "kill"
	}
	if goarch == "amd64" && d.number >= 1<<30 {
		return "ENOSYS"
	}
	name := nameOf[d.number]
	learns := func(c learnedCall) bool { return string(c.name) == name }
	if slices.ContainsFunc(learned(), learns) || name == "connect" && (r.ownNet || r.net == NetOpen) {
		if r.learn {
			return "notify"
		}
		return "allow"
	}
	arg := func(i int) uint32 { return uint32(d.args[i]) }
	kind := arg(1) % 16
	switch name {
	case "clone3":
		return "ENOSYS"
	case "clone":
		for _, flag := range []uint32{0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000} {
			if arg(0)&flag == flag {
				return "EPERM"
			}
		}
		return "allow"
	case "ioctl":
		if slices.Contains([]uint32{0x5412, 0x541c, 0x5423}, arg(1)) {
			return "EPERM"
		}
		return "allow"
	case "socket":
		switch arg(0) {
		case 1:
			if r.unixSockets {
				return "allow"
			}
			return "EACCES"
		case 16:
			if arg(2) == 0 {
				return "allow"
			}
			return "EACCES"
		case 2, 10:
			tcp := kind == 1 && (arg(2) == 0 || arg(2) == 6)
			udp := kind == 2 && (arg(2) == 0 || arg(2) == 17)
			switch {
			case r.net == NetOpen:
				return "allow"
			case r.ownNet && (tcp || udp):
				return "allow"
			case !r.ownNet && !r.notify && !r.listens:
				return "EACCES"
			case !r.ownNet && tcp:
				return "allow"
			}
			return "EPROTONOSUPPORT"
		}
		return "EACCES"
	case "socketpair":
		if !r.unixSockets && (arg(0) != 1 || kind == 2) {
			return "EACCES"
		}
		return "allow"
	case "sendto", "sendmmsg", "sendmsg":
		flags := arg(3)
		if name == "sendmsg" {
			flags = arg(2)
		}
		if r.net != NetOpen && flags&0x20000000 != 0 {
			return "EOPNOTSUPP"
		}
		return "allow"
	case "listen":
		if r.net != NetOpen && !r.ownNet && !r.listens {
			return "EACCES"
		}
		return "allow"
	case "connect":
		switch {
		case r.notify:
			return "notify"
		case r.unixSockets:
			return "allow"
		}
		return "EACCES"
	case "prlimit64":
		if !r.ownPID && arg(0) != 0 {
			return "EPERM"
		}
		return "allow"
	case "":
		return "allow"
	}
	for _, family := range []string{"shm", "sem", "msg", "mq_"} {
		if strings.HasPrefix(name, family) {
			if r.ownIPC {
				return "allow"
			}
			return "EPERM"
		}
	}
	return "EPERM"
}

func wordOf(result uint32) string {
	switch result {
	case 0x80000000:
		return "kill"
	case 0x7fc00000:
		return "notify"
	case 0x7fff0000:
		return "allow"
	}
	names := map[uint32]string{1: "EPERM", 13: "EACCES", 38: "ENOSYS", 93: "EPROTONOSUPPORT", 95: "EOPNOTSUPP"}
	if result>>16 == 5 && names[result&0xffff] != "" {
		return names[result&0xffff]
	}
	return fmt.Sprintf("%#x", result)
}

// modelled are the calls that the model knows by name.
func modelled() []call {
	var files []call
	for _, c := range learned() {
		files = append(files, c.name)
	}
	return slices.Concat(files, deniedAlways(), sharedIPC(), []call{
		"clone", "clone3", "ioctl", "socket", "socketpair", "sendto", "sendmsg", "sendmmsg", "listen", "connect", "prlimit64",
	})
}

func numbersByName(a architecture) map[uint32]string {
	m := map[uint32]string{}
	for _, c := range modelled() {
		if n, ok := a.number(c); ok {
			m[n] = string(c)
		}
	}
	return m
}

func rulesOf(bits uint16) rules {
	return rules{
		net:    []Net{NetNone, NetNames, NetOpen}[bits%3],
		ownNet: bits&4 != 0, listens: bits&8 != 0, notify: bits&16 != 0, unixSockets: bits&32 != 0, ownIPC: bits&64 != 0, ownPID: bits&128 != 0,
		learn: bits&256 != 0,
	}
}

// TestFilterDecidesAsTheModel: the same verdict as a plain model, for calls of each
// kind with arguments near those that matter, on both architectures.
func TestFilterDecidesAsTheModel(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		t.Run(goarch, func(t *testing.T) {
			a, _ := architectureOf(goarch)
			names := numbersByName(a)
			var numbers []uint32
			for n := range names {
				numbers = append(numbers, n)
			}
			slices.Sort(numbers)
			interesting := []uint64{
				0, 1, 2, 3, 5, 6, 10, 16, 17, 132, 255, 262, 40, 43, 0x5412, 0x541c, 0x5423, 0x20000000, 0x20000001,
				0x10000000, 0x7e020000, 0x80801, 0x80002, 1 << 32, 1<<32 | 1, 1<<32 | 0x5412, 1<<63 | 2, 1<<32 | 0x20000000,
			}
			rapid.Check(t, func(t *rapid.T) {
				r := rulesOf(rapid.Uint16Range(0, 511).Draw(t, "rules"))
				d := trapData{arch: a.audit}
				d.number = rapid.OneOf(rapid.SampledFrom(numbers), rapid.Uint32Range(0, 500), rapid.Uint32()).Draw(t, "number")
				if rapid.IntRange(0, 9).Draw(t, "foreign") == 0 {
					d.arch = rapid.SampledFrom([]uint32{auditAMD64, auditARM64, 0x40000003, 0x40000028, 0}).Draw(t, "arch")
				}
				for i := range d.args {
					d.args[i] = rapid.OneOf(rapid.SampledFrom(interesting), rapid.Uint64()).Draw(t, "arg")
				}
				want, got := model(r, goarch, d, names), wordOf(run(t, r.program(a), d))
				if got != want {
					t.Fatalf("%+v: %s%+v: the filter says %s, the model %s", r, names[d.number], d, got, want)
				}
			})
		})
	}
}

// TestFilterDecidesOnEachCall: each call that the filter knows, under each set of rules,
// with each argument that matters alone, and sockets with all of them together.
func TestFilterDecidesOnEachCall(t *testing.T) {
	values := []uint64{
		0, 1, 2, 3, 5, 6, 10, 16, 17, 132, 262, 0x80801, 0x80002, 0x5412, 0x541c, 0x5423, 0x20000000, 0x24000,
		0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x40000000, 1 << 32, 1<<32 | 1, 1<<32 | 0x5412,
	}
	few := []uint64{0, 1, 2, 6, 10, 16, 17, 262, 0x80801, 0x80002}
	for _, goarch := range []string{"amd64", "arm64"} {
		a, _ := architectureOf(goarch)
		names := numbersByName(a)
		for bits := range uint16(512) {
			if bits >= 256 && bits%5 != 0 {
				continue // what is learned has nothing to do with most of the others
			}
			r := rulesOf(bits)
			filter := machine(t, r.program(a))
			try := func(d trapData) {
				if want, got := model(r, goarch, d, names), wordOf(filter(d)); got != want {
					t.Fatalf("%s: %+v: %s %+v: the filter says %s, the model %s", goarch, r, names[d.number], d, got, want)
				}
			}
			for n, name := range names {
				for _, arch := range []uint32{auditAMD64, auditARM64, 0x40000003, 0x40000028} {
					try(trapData{arch: arch, number: n})
				}
				try(trapData{arch: a.audit, number: n | 1<<30})
				for i := range 4 {
					if slices.Contains(deniedAlways(), call(name)) || slices.ContainsFunc(learned(), func(c learnedCall) bool { return string(c.name) == name }) {
						break // whatever the arguments
					}
					for _, v := range values {
						d := trapData{arch: a.audit, number: n}
						d.args[i] = v
						try(d)
					}
				}
				if name != "socket" && name != "socketpair" || r.ownIPC || r.ownPID {
					continue
				}
				for _, family := range few {
					for _, kind := range few {
						for _, protocol := range few {
							try(trapData{arch: a.audit, number: n, args: [6]uint64{family, kind, protocol}})
						}
					}
				}
			}
		}
	}
}

// FuzzFilter is the same on bytes that the fuzzer finds.
func FuzzFilter(f *testing.F) {
	f.Add(uint8(0), true, uint32(auditAMD64), uint32(41), uint64(2), uint64(1), uint64(262), uint64(0))
	f.Add(uint8(1), true, uint32(0x40000003), uint32(102), uint64(1), uint64(1), uint64(0), uint64(0))
	f.Add(uint8(4), false, uint32(auditARM64), uint32(206), uint64(0), uint64(0), uint64(0), uint64(0x20000000))
	f.Fuzz(func(t *testing.T, bits uint8, intel bool, arch, number uint32, a0, a1, a2, a3 uint64) {
		goarch := "arm64"
		if intel {
			goarch = "amd64"
		}
		a, _ := architectureOf(goarch)
		for _, more := range []uint16{0, 256} {
			r := rulesOf(uint16(bits) | more)
			d := trapData{arch, number, [6]uint64{a0, a1, a2, a3}}
			if want, got := model(r, goarch, d, numbersByName(a)), wordOf(run(t, r.program(a), d)); got != want {
				t.Errorf("%+v: %+v: the filter says %s, the model %s", r, d, got, want)
			}
		}
	})
}

// TestNumbersOfCalls compares our table with that of x/sys, for both architectures.
func TestNumbersOfCalls(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Skipf("the go command does not tell where x/sys is: %v", err)
	}
	for _, goarch := range []string{"amd64", "arm64"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+goarch+".go"))
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]int{}
		for _, m := range regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)$`).FindAllStringSubmatch(string(text), -1) {
			theirs[strings.ToLower(m[1])], _ = strconv.Atoi(m[2])
		}
		a, _ := architectureOf(goarch)
		for _, c := range modelled() {
			n, ok := a.number(c)
			want, exists := theirs[string(c)]
			if ok != exists || ok && int(n) != want {
				t.Errorf("%s on %s: %d (%v), x/sys has %d (%v)", c, goarch, n, ok, want, exists)
			}
		}
	}
}

// TestFilterIsShort: the kernel takes 4096 instructions, and each costs.
func TestFilterIsShort(t *testing.T) {
	for bits := range uint16(512) {
		a, _ := architectureOf("amd64")
		most := 256
		if rulesOf(bits).learn {
			most += 2 * len(learned()) // a run that learns may take longer
		}
		if n := len(rulesOf(bits).program(a)); n > most {
			t.Errorf("%+v: %d instructions", rulesOf(bits), n)
		}
	}
	if _, ok := architectureOf(runtime.GOARCH); !ok && runtime.GOOS == "linux" {
		t.Logf("no filter on %s", runtime.GOARCH)
	}
}
