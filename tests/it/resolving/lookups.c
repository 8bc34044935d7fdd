/* Looks a name up again and again, until its standard input ends: how often, how often in vain,
   and how long the longest took, in microseconds. */
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000LL + at.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    struct addrinfo hints, *all;
    struct pollfd input = { .fd = 0, .events = POLLIN };
    long count = 0, failed = 0;
    long long longest = 0;
    if (argc != 2)
        return 2;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    puts("ready");
    fflush(stdout);
    while (poll(&input, 1, 0) == 0) {
        long long begun = now();
        if (getaddrinfo(argv[1], "80", &hints, &all) != 0)
            failed++;
        else
            freeaddrinfo(all);
        if (now() - begun > longest)
            longest = now() - begun;
        count++;
    }
    printf("%ld %ld %lld\n", count, failed, longest);
    return 0;
}
