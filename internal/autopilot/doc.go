// Package autopilot decides who votes in a cluster: it looks at how the nodes
// are, and says whom to give a vote, whom to take it, and whom to remove.
//
//   - A node that has joined gets its vote once it has been healthy for the
//     stabilisation time, so that one that comes and goes does not count.
//   - Of the nodes of a redundancy zone one votes; if it fails, a spare of the
//     zone takes over.
//   - A dead node is removed if the configuration allows it and enough are left.
//   - When nodes of a newer upgrade version have joined in sufficient number,
//     they take over from the older ones, votes first, then the leadership.
//
// [Decide] is a function of what is seen, and of nothing else. [Pilot] keeps since
// when each node has been healthy, and owns the routes.
package autopilot
