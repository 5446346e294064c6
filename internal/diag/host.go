package diag

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/cofferhq/coffer/internal/route"
)

// host is what host-info answers, with the field names that Vault's has. What
// the system does not tell is left out and named in a warning.
type host struct {
	Timestamp time.Time   `json:"timestamp"`
	CPU       []processor `json:"cpu,omitempty"`
	CPUTimes  []cpuTimes  `json:"cpu_times,omitempty"`
	Disk      []disk      `json:"disk,omitempty"`
	Host      *system     `json:"host,omitempty"`
	Memory    *memory     `json:"memory,omitempty"`
}

type processor struct {
	CPU        int      `json:"cpu"`
	VendorID   string   `json:"vendorId"`
	Family     string   `json:"family"`
	Model      string   `json:"model"`
	Stepping   string   `json:"stepping"`
	PhysicalID string   `json:"physicalId"`
	CoreID     string   `json:"coreId"`
	Cores      int      `json:"cores"`
	ModelName  string   `json:"modelName"`
	MHz        float64  `json:"mhz"`
	CacheSize  string   `json:"cacheSize"`
	Flags      []string `json:"flags"`
	Microcode  string   `json:"microcode"`
}

// cpuTimes are seconds since the system was booted.
type cpuTimes struct {
	CPU       string  `json:"cpu"`
	User      float64 `json:"user"`
	System    float64 `json:"system"`
	Idle      float64 `json:"idle"`
	Nice      float64 `json:"nice"`
	IOWait    float64 `json:"iowait"`
	IRQ       float64 `json:"irq"`
	SoftIRQ   float64 `json:"softirq"`
	Steal     float64 `json:"steal"`
	Guest     float64 `json:"guest"`
	GuestNice float64 `json:"guestNice"`
}

type disk struct {
	Path              string  `json:"path"`
	FSType            string  `json:"fstype"`
	Total             uint64  `json:"total"`
	Free              uint64  `json:"free"`
	Used              uint64  `json:"used"`
	UsedPercent       float64 `json:"usedPercent"`
	InodesTotal       uint64  `json:"inodesTotal"`
	InodesUsed        uint64  `json:"inodesUsed"`
	InodesFree        uint64  `json:"inodesFree"`
	InodesUsedPercent float64 `json:"inodesUsedPercent"`
}

type system struct {
	Hostname      string `json:"hostname"`
	Uptime        uint64 `json:"uptime"`
	BootTime      uint64 `json:"bootTime"`
	Procs         int    `json:"procs"`
	OS            string `json:"os"`
	KernelVersion string `json:"kernelVersion"`
	KernelArch    string `json:"kernelArch"`
}

type memory struct {
	Total       uint64  `json:"total"`
	Available   uint64  `json:"available"`
	Used        uint64  `json:"used"`
	UsedPercent float64 `json:"usedPercent"`
	Free        uint64  `json:"free"`
	Active      uint64  `json:"active"`
	Inactive    uint64  `json:"inactive"`
	Buffers     uint64  `json:"buffers"`
	Cached      uint64  `json:"cached"`
	SwapTotal   uint64  `json:"swapTotal"`
	SwapFree    uint64  `json:"swapFree"`
}

func (d *Diag) hostInfo(_ context.Context, c *route.Call, _ noInput) (host, error) {
	h := host{Timestamp: d.Clock.Now(), Host: &system{OS: runtime.GOOS, KernelArch: runtime.GOARCH}}
	name, err := os.Hostname()
	if err != nil {
		c.Warn("the host's name cannot be read")
	}
	h.Host.Hostname = name
	h.fill(d.Proc, c.Warn)
	return h, nil
}

// percent returns part of whole in percent.
func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole) * 100
}
