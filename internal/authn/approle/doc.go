// Package approle is the auth method for applications: a role id says which
// role an application has, a secret id proves it.
//
// # Names
//
// A role's name is a path segment that policies are about, so it is taken in
// lower case only and never folded (see [checkName]). A role id is the alias of
// whoever logs in with it; it is compared as it is.
//
// # Secret ids
//
// A secret id is shown once, when it is made, and kept as a keyed hash
// (HMAC-SHA256 with the role's own key). Its accessor names it from then on.
// Rows of secret ids belong to the role's internal id, not to its name: a role
// that is deleted takes its secret ids with it at once, however many they are,
// and one that is made anew under the same name has none.
//
// A secret id with a use count is counted down in the transaction that stores
// the token, so that the count is exact however many logins run at a time. One
// without a count costs no write.
//
// # Rows
//
//	(1, role id)           a role
//	(2, name)              the role's id
//	(3, role uid, hash)    a secret id
//	(4, role uid, accessor) its time of expiry and its hash
//	(5, time, role uid, hash) secret ids by the time they expire
//	(6, role uid)          a deleted role whose secret ids are being removed
//
// One timer stands at the head of index 5 and one runs while there are rows of
// kind 6; nothing needs to be tidied.
package approle
