//go:build tools

// Package tools names the tests' time series server as what this module needs: a single node of
// VictoriaMetrics, which speaks both of InfluxDB's write protocols.
package tools

import _ "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics"
