package bootstrap

// localReplies are what Envoy's own answers are changed by.
type localReplies struct {
	Mappers []replyMapper `json:"mappers"`
}

type replyMapper struct {
	Filter  replyFilter   `json:"filter"`
	Headers []headerToAdd `json:"headers_to_add"`
}

// replyFilter has one of its fields.
type replyFilter struct {
	And    *replyFilters `json:"and_filter,omitempty"`
	Flags  *replyFlags   `json:"response_flag_filter,omitempty"`
	Header *headerFilter `json:"header_filter,omitempty"`
}

type replyFilters struct {
	Filters []replyFilter `json:"filters"`
}

type replyFlags struct {
	Flags []string `json:"flags"`
}

type headerFilter struct {
	Header headerMatcher `json:"header"`
}

type headerMatcher struct {
	Name  string        `json:"name"`
	Match stringMatcher `json:"string_match"`
}

// grpcTimeouts says DEADLINE_EXCEEDED to a gRPC client where a timeout is over. Envoy would
// say UNAVAILABLE, as gRPC has it for a 504, which clients are commonly told to send again:
// so a call that the server is still at work on would be carried out twice.
func grpcTimeouts() *localReplies {
	const deadlineExceeded = "4"
	return &localReplies{[]replyMapper{{
		Filter: replyFilter{And: &replyFilters{[]replyFilter{
			{Flags: &replyFlags{[]string{"UT"}}},
			// What Envoy itself takes for gRPC; others have no use for the header.
			{Header: &headerFilter{headerMatcher{"content-type", stringMatcher{Regex: &safeRegex{`application/grpc([+;].*)?`}}}}},
		}}},
		Headers: []headerToAdd{{header{"grpc-status", deadlineExceeded}, "OVERWRITE_IF_EXISTS_OR_ADD"}},
	}}}
}
