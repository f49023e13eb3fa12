package metrics

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	var h Histogram
	h.Observe(0)
	h.Observe(500 * time.Microsecond) // a bound is in its bucket
	h.Observe(2 * time.Second)
	h.Observe(time.Hour)
	p := &Page{}
	p.Family("a_total", Counter, "With \\ and \"quotes\"\nand a line.")
	p.Sample(1.5, "x", "\"\\\n", "y", "ü")
	p.One("b", Gauge, "B.", 1e21)
	p.Durations("c_seconds", "C.")
	p.Histogram(&h, "x", "1")
	got := string(p.Bytes())
	for _, want := range []string{
		`# HELP a_total With \\ and "quotes"\nand a line.` + "\n# TYPE a_total counter\n" + `a_total{x="\"\\\n",y="ü"} 1.5` + "\n",
		"# HELP b B.\n# TYPE b gauge\nb 1e+21\n",
		"# TYPE c_seconds histogram\n" + `c_seconds_bucket{x="1",le="0.0005"} 2` + "\n" + `c_seconds_bucket{x="1",le="0.001"} 2` + "\n",
		`c_seconds_bucket{x="1",le="1"} 2` + "\n" + `c_seconds_bucket{x="1",le="2.5"} 3` + "\n",
		`c_seconds_bucket{x="1",le="60"} 3` + "\n" + `c_seconds_bucket{x="1",le="+Inf"} 4` + "\n" + `c_seconds_sum{x="1"} 3602.0005` + "\n" + `c_seconds_count{x="1"} 4` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no\n%sin\n%s", want, got)
		}
	}
	all, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Sample{"a_total", map[string]string{"x": "\"\\\n", "y": "ü"}, 1.5}); !reflect.DeepEqual(all[0], want) {
		t.Errorf("read back: %+v", all[0])
	}
	if len(all) != 2+len(bounds)+1+2 || h.Count() != 4 {
		t.Errorf("%d samples, %d observed", len(all), h.Count())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"a", "a{", `a{x="1"`, `a{x="1"} `, `a{x="1}`, `a{x=1} 2`, "a{x=`1`} 2", `a{x="1"y="2"} 3`, "a b", " 1", `{x="1"} 1`, `a{x="1"}2`, `a{x="1",} 2`} {
		if got, err := Parse("# c\n\nok 1\n" + line + "\n"); err == nil || !strings.HasPrefix(err.Error(), "line 4: ") {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
}

// What is observed by many at once is all there.
func TestHistogramOfMany(t *testing.T) {
	var h Histogram
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				h.Observe(time.Duration(i) * time.Second)
			}
		})
	}
	all.Wait()
	p := &Page{}
	p.Histogram(&h)
	if got := string(p.Bytes()); h.Count() != 8000 || !strings.Contains(got, "_sum 28000\n") || !strings.Contains(got, fmt.Sprintf(`_bucket{le="1"} %d`+"\n", 2000)) {
		t.Errorf("%d observed\n%s", h.Count(), got)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for b.Loop() {
		h.Observe(3 * time.Millisecond)
	}
}
