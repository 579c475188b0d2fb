//go:build race

package lake

// raceDetector makes commits five times slower; the tests do fewer of them.
const raceDetector = true
