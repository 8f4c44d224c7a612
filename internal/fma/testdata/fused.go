// Package fused is what canonical code must not look like.
package fused

func MulAdd(x, y, z float64) float64 { return x*y + z }

func MulAdd32(x, y, z float32) float32 { return x*y + z }
