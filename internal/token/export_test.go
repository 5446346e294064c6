package token

// Base62 lets tests compare the conversion with the schoolbook's.
var Base62 = base62
