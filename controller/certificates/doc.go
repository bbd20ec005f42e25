// Package certificates says what the certificates of a webhook should be at a
// given time: it looks at what there is and returns what there should be. It
// stores nothing and asks nobody.
//
// A rotation never breaks a connection, whoever learns of it first:
//
//	      made       settled                          expired
//	CA 1  |----------|---------------- - - - ---------|
//	CA 2                      |-------|---------------- - - -
//	                          made    settled
//	trusted:  1                1, 2    1, 2             2
//	signed by 1                1       2                2
//
// A new CA is trusted at once and signs nothing before it has settled: by then
// every kube-apiserver has it. The old one stays trusted until it expires, since
// nobody knows which replica still serves a certificate from it; its key is
// forgotten as soon as there is a new one.
package certificates
