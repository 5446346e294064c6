package approle

// The rules for names, for tests and fuzzing.
var (
	CheckName       = checkName
	CanonicalRoleID = canonicalRoleID
)
