//go:build !linux

package kernel

func mapHuge(int) []byte { return nil }

func unmap([]byte) {}
