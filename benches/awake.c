// Keeps the core it may run on from going idle, and gives it up to whoever wakes up.
//
// A core of a virtual machine that goes idle is the host's again, and comes back when the host finds the time: its
// first answer after a pause would measure that. Booting with idle=poll does the same.
//
// Where the scheduler groups processes by session (autogroup), its idle class counts within the group only. There it
// takes next to nothing because the generator is of the same session and never sleeps, on another core: nearly all of
// the group's weight is there.
//
// usage: awake    one process for each core (taskset); ends with its parent

#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        err(1, "prctl");
    if (sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}) != 0)
        err(1, "SCHED_IDLE");
    if (write(STDOUT_FILENO, "\n", 1) != 1)
        err(1, "standard output");
    for (;;) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
}
