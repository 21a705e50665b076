//go:build tools

// Package tools pins the Node.js language host, the last release of it that is published as a Go module.
package tools

import _ "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs"
