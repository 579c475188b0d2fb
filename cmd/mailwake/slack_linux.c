// Go's scheduler has a thread that looks after the others every 20 us, and half as often each
// time when it has found nothing to do for a while, until all processors are idle: then it begins
// anew. In a server that is idle for a fraction of a millisecond again and again it wakes up
// 5,000 times a second, which takes a tenth of all that the server does. How much later than it
// asks for the kernel may wake a thread is taken over from the thread that starts it, also by
// other processes, so it must be said before Go starts any. Those who wait for milliseconds do
// not mind; pauses of the log do, but are a timerfd's, which has no slack.
#include <string.h>
#include <sys/prctl.h>

enum { SLACK_NS = 500 * 1000 }; // 50,000 by default

__attribute__((constructor)) static void begin(int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "serve") == 0) {
			prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
		}
	}
}
