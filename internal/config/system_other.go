//go:build !linux

package config

import "errors"

func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

func openFileLimit() (uint64, error) { return 0, errors.ErrUnsupported }

func coreDumpLimit() (uint64, error) { return 0, errors.ErrUnsupported }

func swapActive() (bool, error) { return false, errors.ErrUnsupported }

func clockSynchronised() (bool, error) { return false, errors.ErrUnsupported }
