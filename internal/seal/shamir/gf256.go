package shamir

// The field is GF(2^8) with the reduction polynomial x^8 + x^4 + x^3 + x + 1.
// Neither function here branches on its operands or uses them as an index: time
// and memory access are the same for all values. A test holds them to it.

// mul returns the product of a and b.
func mul(a, b byte) byte {
	var product byte
	for range 8 {
		product ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
		b >>= 1
	}
	return product
}

// inverse returns a^254, which is 1/a, and 0 for 0.
func inverse(a byte) byte {
	square := a
	result := byte(1)
	for range 7 { // 254 = 2 + 4 + ... + 128
		square = mul(square, square)
		result = mul(result, square)
	}
	return result
}
