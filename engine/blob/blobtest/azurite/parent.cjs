// Ends the server when the test process that holds the other end of its
// standard input is gone.
process.stdin.on("end", () => process.exit(0)).resume();
