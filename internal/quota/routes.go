package quota

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of sys/quotas. Their receiver is a *[Store].
var Routes = []route.Endpoint{
	route.Read("quotas/config", (*Store).readConfig, route.RootOnly(),
		route.Doc{Summary: "Show the settings of all rate limits."}),
	route.Write("quotas/config", (*Store).writeConfig, route.RootOnly(),
		route.Doc{Summary: "Change the settings of all rate limits.", Description: "What is not given stays as it is."}),

	route.List("quotas/rate-limit", (*Store).listRates, route.Doc{Summary: "List the rate limits."}),
	route.Read("quotas/rate-limit/{name}", (*Store).readRate, route.Doc{Summary: "Read a rate limit."}),
	route.Write("quotas/rate-limit/{name}", (*Store).writeRate, route.Doc{
		Summary: "Limit how many requests clients may make.", Description: "The fields replace those before.",
	}),
	route.Delete("quotas/rate-limit/{name}", (*Store).deleteRate, route.Doc{Summary: "Remove a rate limit."}),

	route.List("quotas/lease-count", (*Store).listLeaseCounts, route.Doc{Summary: "List the lease-count quotas."}),
	route.Read("quotas/lease-count/{name}", (*Store).readLeaseCount, route.Doc{
		Summary: "Read a lease-count quota.", Description: "Its counter is the number of leases now, counted up to one above the limit.",
	}),
	route.Write("quotas/lease-count/{name}", (*Store).writeLeaseCount, route.Doc{
		Summary: "Limit how many leases there may be.", Description: "The fields replace those before.",
	}),
	route.Delete("quotas/lease-count/{name}", (*Store).deleteLeaseCount, route.Doc{Summary: "Remove a lease-count quota."}),
}
