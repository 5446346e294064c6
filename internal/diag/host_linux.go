package diag

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// fill reads the kernel's facts below proc.
func (h *host) fill(proc string, warn func(string)) {
	fs, err := procfs.NewFS(proc)
	if err != nil {
		warn("the kernel's facts cannot be read")
		return
	}
	for _, part := range []struct {
		name string
		read func(procfs.FS) error
	}{
		{"processors", h.readProcessors}, {"processor times", h.readTimes}, {"memory", h.readMemory}, {"file systems", h.readDisks}, {"kernel", h.readKernel},
	} {
		if err := part.read(fs); err != nil {
			warn("facts about " + part.name + " cannot be read")
		}
	}
	h.Host.Procs = countProcesses(proc)
}

func (h *host) readProcessors(fs procfs.FS) error {
	list, err := fs.CPUInfo()
	for _, c := range list {
		h.CPU = append(h.CPU, processor{
			CPU: int(c.Processor), VendorID: c.VendorID, Family: c.CPUFamily, Model: c.Model, Stepping: c.Stepping, PhysicalID: c.PhysicalID,
			CoreID: c.CoreID, Cores: int(c.CPUCores), ModelName: c.ModelName, MHz: c.CPUMHz, CacheSize: c.CacheSize, Flags: c.Flags, Microcode: c.Microcode,
		})
	}
	return err
}

func (h *host) readTimes(fs procfs.FS) error {
	stat, err := fs.Stat()
	if err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(stat.CPU)) {
		c := stat.CPU[n]
		h.CPUTimes = append(h.CPUTimes, cpuTimes{
			CPU: "cpu" + strconv.FormatInt(n, 10), User: c.User, System: c.System, Idle: c.Idle, Nice: c.Nice, IOWait: c.Iowait,
			IRQ: c.IRQ, SoftIRQ: c.SoftIRQ, Steal: c.Steal, Guest: c.Guest, GuestNice: c.GuestNice,
		})
	}
	h.Host.BootTime = stat.BootTime
	if now := h.Timestamp.Unix(); now > 0 && uint64(now) > stat.BootTime {
		h.Host.Uptime = uint64(now) - stat.BootTime
	}
	return nil
}

func (h *host) readMemory(fs procfs.FS) error {
	info, err := fs.Meminfo()
	if err != nil {
		return err
	}
	value := func(p *uint64) uint64 {
		if p == nil {
			return 0
		}
		return *p
	}
	m := &memory{
		Total: value(info.MemTotalBytes), Available: value(info.MemAvailableBytes), Free: value(info.MemFreeBytes), Active: value(info.ActiveBytes),
		Inactive: value(info.InactiveBytes), Buffers: value(info.BuffersBytes), Cached: value(info.CachedBytes),
		SwapTotal: value(info.SwapTotalBytes), SwapFree: value(info.SwapFreeBytes),
	}
	m.Used = m.Total - min(m.Available, m.Total)
	m.UsedPercent = percent(m.Used, m.Total)
	h.Memory = m
	return nil
}

// readDisks lists the file systems on block devices, each once. Others are
// left out: asking a network file system whose server is gone takes for ever.
func (h *host) readDisks(fs procfs.FS) error {
	mounts, err := fs.GetMounts()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, m := range mounts {
		if !strings.HasPrefix(m.Source, "/dev/") || seen[m.Source] {
			continue
		}
		seen[m.Source] = true
		var s unix.Statfs_t
		if unix.Statfs(m.MountPoint, &s) != nil {
			continue // unmounted meanwhile, or not ours to see
		}
		size := uint64(s.Bsize)
		d := disk{Path: m.MountPoint, FSType: m.FSType, Total: s.Blocks * size, Free: s.Bavail * size, Used: (s.Blocks - s.Bfree) * size, InodesTotal: s.Files, InodesFree: s.Ffree, InodesUsed: s.Files - s.Ffree}
		d.UsedPercent, d.InodesUsedPercent = percent(d.Used, d.Used+d.Free), percent(d.InodesUsed, d.InodesTotal)
		h.Disk = append(h.Disk, d)
	}
	return nil
}

func (h *host) readKernel(procfs.FS) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	h.Host.KernelVersion, h.Host.KernelArch = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	return nil
}

// countProcesses counts the folders of processes.
func countProcesses(proc string) int {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 32); err == nil && e.IsDir() {
			n++
		}
	}
	return n
}
