// Package kv is the key-value secrets engine. A mount keeps either one value
// per path (version 1, the type [V1]) or several numbered versions per path
// (version 2, the type [V2]); [Type] chooses by the mount option "version".
//
// # Rows
//
// A path is split after each slash, and each piece is a part of the key:
// "app/db" is ("app/", "db"). So a directory and a secret of the same name
// stand side by side, a directory's children are found by seeking from one to
// the next, and the order of the rows is the order of the listing.
//
//	1 plain    path pieces...        a record: version 1's value
//	2 secret   path pieces...        a secret: the settings and versions of a path
//	3 version  path, version number  a record: the data of one version
//	4 config                         the settings of a version 2 mount
//
// A record is a small binary header (when, by whom, lease hint) followed by the
// client's JSON object as it came. A secret is a fixed header, a table with 17
// bytes per version and the custom metadata as JSON. A read decodes neither:
// it looks at fixed offsets and copies the JSON into the answer.
//
// # From version 1 to version 2
//
// A mount that was tuned from version 1 to 2 is not migrated. A plain row is
// seen as version 1 of its path for as long as nothing else is stored there;
// the first change of the path moves the row to where version 1's data belongs,
// in the same transaction. A plain row and a secret row never stand at the same
// path, so every request sees the right state at any moment.
package kv
