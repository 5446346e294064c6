package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Load reads the given files, and the *.hcl and *.json files of the given
// directories in lexical order, into one configuration. The error joins every
// problem found; [Config.Validate] then checks the rules that span keys.
func Load(paths []string) (*Config, error) {
	d := &decoder{cfg: New(), from: systemSources()}
	files, err := configFiles(paths)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		src, err := readLimited(file)
		if err != nil {
			d.errs = append(d.errs, fmt.Errorf("reading the configuration: %w", err))
			continue
		}
		d.file(file, src)
	}
	return d.finish()
}

// Parse reads one configuration file from memory; name stands for it in
// messages.
func Parse(name string, src []byte) (*Config, error) {
	d := &decoder{cfg: New(), from: systemSources()}
	d.file(name, src)
	return d.finish()
}

func (d *decoder) finish() (*Config, error) {
	if err := errors.Join(d.errs...); err != nil {
		return nil, err
	}
	d.cfg.fill()
	return d.cfg, nil
}

func (d *decoder) file(name string, src []byte) {
	tree, err := parseTree(name, src)
	if err != nil {
		d.errs = append(d.errs, err)
		return
	}
	d.root(tree)
}

// configFiles replaces directories by the files in them.
func configFiles(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, errors.New("no configuration was given; pass -config with a file or a directory")
	}
	var files []string
	var errs []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("no configuration at %q; check the path given with -config", path)
			}
			errs = append(errs, err)
			continue
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		found, err := directoryFiles(path)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("the directory %q holds no *.hcl or *.json file", path)
		}
		files, errs = append(files, found...), append(errs, err)
	}
	return files, errors.Join(errs...)
}

func directoryFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		name := entry.Name()
		// Editors leave hidden and numbered copies beside the file they edit.
		if entry.IsDir() || name[0] == '.' || name[0] == '#' {
			continue
		}
		if slices.Contains([]string{".hcl", ".json"}, filepath.Ext(name)) {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}
