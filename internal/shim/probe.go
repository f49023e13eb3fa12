package shim

import (
	"encoding/json"
	"os"
	"strconv"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/sandbox"
)

// remembered is the form in which a report is kept for other shims of the home.
type remembered struct {
	// Key stands for what the report depends on; another one is another's report.
	Key    string         `json:"key"`
	At     time.Time      `json:"at"`
	Report sandbox.Report `json:"report"`
}

// missingFor is how long a report is believed that something is missing: somebody
// may have mended it. A start that it would refuse does not believe it at all.
const missingFor = 10 * time.Minute

// probe says what this system can confine: as was found in the life of this shim, or
// by another of this home since the system started, or by trying now.
func (s *shim) probe() (r sandbox.Report, fresh bool) {
	if s.report != nil {
		return *s.report, false
	}
	var m remembered
	if json.Unmarshal(s.home.ReadProbe(), &m) == nil && m.Key == s.probeKey() {
		age := time.Since(m.At)
		if len(m.Report.Missing) == 0 || age >= 0 && age < missingFor {
			s.report = &m.Report
			return m.Report, false
		}
	}
	return s.probeAfresh(), true
}

func (s *shim) probeAfresh() sandbox.Report {
	r := sandbox.Probe("")
	s.report = &r
	if data, err := json.Marshal(remembered{s.probeKey(), time.Now().UTC(), r}); err == nil {
		_ = s.home.WriteProbe(data) // the next one tries for itself
	}
	return r
}

// forgetProbe is for a report that proved wrong.
func (s *shim) forgetProbe() {
	s.report = nil
	_ = s.home.ForgetProbe()
}

// probeKey: the run of the system, who we are in it, and this very program.
func (s *shim) probeKey() string {
	key := s.self.Boot + " " + strconv.FormatUint(s.self.Namespace, 10) + " " + strconv.Itoa(os.Geteuid()) + " " + berth.Version + " " + surroundings()
	if exe, err := ownExecutable(); err == nil {
		if info, err := os.Stat(exe); err == nil {
			key += " " + strconv.FormatInt(info.Size(), 10) + " " + strconv.FormatInt(info.ModTime().UnixNano(), 10)
		}
	}
	return key
}
