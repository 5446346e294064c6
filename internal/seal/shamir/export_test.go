package shamir

// Mul and Inverse are the field's operations.
var (
	Mul     = mul
	Inverse = inverse
)
