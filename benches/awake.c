// Keeps the cores it may run on from going idle, and takes nothing from whoever wants them.
//
// A core of a virtual machine that goes idle is the host's again, and comes back when the host finds the time: its
// first answer after a pause would measure that. Booting with idle=poll does the same.
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
    // Only when nobody else would run: whoever wakes up is not kept waiting.
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
