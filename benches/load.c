// Load of known size: sends a fixed number of queries, accounts for each, and prints counts and latencies as JSON.
//
// usage: load ADDRESS PORT FILE COUNT RATE EDNS
//   FILE   lines of "name A", asked in order and again from the start
//   COUNT  queries in all
//   RATE   queries a second, sent when due whatever the server does (open
//          loop); 0: as fast as it answers, WINDOW outstanding (closed loop)
//   EDNS   1: with an OPT record
//
// Latency runs from just before the send to the kernel's timestamp of the
// reply: waiting for this program to be scheduled is not the server's time.
// A query without reply after TIMEOUT is lost. An answer with several A
// records that are not all in one /24 is "mixed" (swaps.py relies on it).

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

// RING: every message id of every socket. A slot is used again after RING
// queries, which takes longer than TIMEOUT at any rate reached here.
// SHORT: answers in 10 ms at 20,000 queries a second.
enum { SHORT = 200, SOCKETS = 4, BATCH = 32, WINDOW = 100, RING = SOCKETS * 65536, MAX_REPLY = 4096, MAX_COUNT = 50000000 };
static const int64_t SECOND = 1000000000, TIMEOUT = SECOND, DEADLINE = 120 * SECOND;
// A sender that woke later than this moves its schedule instead of sending a
// burst that would measure itself.
static const int64_t LATE = SECOND / 1000;

struct query { uint32_t offset, length; };
static uint8_t *wire;
static struct query *queries;
static size_t query_count;

static int64_t sent_at[RING]; // 0: nothing outstanding
static uint32_t *latencies;   // nanoseconds, of each answer
static int64_t sent, oldest, answered, lost, noerror, nxdomain, empty, other, unexpected, mixed;
static int sockets[SOCKETS];

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

// BATCH consecutive queries go to one socket, so that they fit one sendmmsg.
static int64_t slot_of(int socket, unsigned id) {
    return (int64_t)(id / BATCH) * BATCH * SOCKETS + socket * BATCH + id % BATCH;
}

static void read_queries(const char *path, bool edns) {
    static const uint8_t opt[] = {0, 0, 41, 1232 >> 8, 1232 & 255, 0, 0, 0, 0, 0, 0};
    FILE *file = fopen(path, "r");
    if (!file)
        err(1, "%s", path);
    char name[256];
    size_t used = 0, room = 0, known = 0;
    while (fscanf(file, "%255s %*s", name) == 1) {
        if (used + 512 > room && !(wire = realloc(wire, room = 2 * room + 65536)))
            err(1, "memory");
        if (query_count == known && !(queries = realloc(queries, (known = 2 * known + 1024) * sizeof *queries)))
            err(1, "memory");
        uint8_t *start = wire + used, *p = start + 12;
        memcpy(start, (uint8_t[12]){[2] = 1, [5] = 1, [11] = edns}, 12);
        for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
            size_t length = strlen(label);
            *p++ = (uint8_t)length;
            p = (uint8_t *)memcpy(p, label, length) + length;
        }
        p = (uint8_t *)memcpy(p, (uint8_t[]){0, 0, 1, 0, 1}, 5) + 5;
        if (edns)
            p = (uint8_t *)memcpy(p, opt, sizeof opt) + sizeof opt;
        queries[query_count++] = (struct query){(uint32_t)used, (uint32_t)(p - start)};
        used += (size_t)(p - start);
    }
    fclose(file);
    if (query_count < BATCH)
        errx(1, "%s: %zu queries, at least %d are needed", path, query_count, BATCH);
}

static void send_batch(int64_t most) {
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    int64_t room = BATCH - sent % BATCH, n = most < room ? most : room, at = now();
    int64_t first = sent % RING, socket = first / BATCH % SOCKETS;
    for (int64_t i = 0; i < n; i++) {
        struct query q = queries[(size_t)(sent + i) % query_count];
        uint16_t id = htons((uint16_t)((first + i) / (BATCH * SOCKETS) * BATCH + (first + i) % BATCH));
        memcpy(wire + q.offset, &id, sizeof id);
        parts[i] = (struct iovec){wire + q.offset, q.length};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        sent_at[first + i] = at; // before the send: the reply may be quicker than we are
    }
    int done = sendmmsg(sockets[socket], messages, (unsigned)n, 0);
    for (int64_t i = done > 0 ? done : 0; i < n; i++)
        sent_at[first + i] = 0;
    sent += done > 0 ? done : 0;
}

// Where the name at `p` ends, or NULL.
static const uint8_t *skip_name(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p != 0 && *p < 0xc0)
        p += 1 + *p;
    return p < end ? p + (*p ? 2 : 1) : NULL;
}

static bool is_mixed(const uint8_t *reply, const uint8_t *end, int answers) {
    uint8_t network[3];
    bool seen = false;
    const uint8_t *p = skip_name(reply + 12, end);
    for (p = p ? p + 4 : NULL; p && answers > 0; answers--) {
        p = skip_name(p, end);
        if (!p || end - p < 10)
            return true; // not even well formed
        int length = p[8] << 8 | p[9];
        bool is_a = p[0] == 0 && p[1] == 1 && length == 4;
        p += 10;
        if (end - p < length)
            return true;
        if (is_a && seen && memcmp(network, p, 3) != 0)
            return true;
        if (is_a && !seen)
            seen = memcpy(network, p, 3) != NULL;
        p += length;
    }
    return false;
}

static void account(int socket, const uint8_t *reply, size_t length, int64_t at) {
    int64_t slot = length < 12 ? -1 : slot_of(socket, (unsigned)(reply[0] << 8 | reply[1]));
    if (slot < 0 || !(reply[2] & 0x80) || sent_at[slot] == 0) {
        unexpected++;
        return;
    }
    int64_t took = at - sent_at[slot];
    latencies[answered++] = (uint32_t)(took < 0 ? 0 : took > TIMEOUT ? TIMEOUT : took);
    sent_at[slot] = 0;
    int rcode = reply[3] & 15, answers = reply[6] << 8 | reply[7];
    noerror += rcode == 0;
    empty += rcode == 0 && answers == 0;
    nxdomain += rcode == 3;
    other += rcode != 0 && rcode != 3;
    mixed += answers > 1 && is_mixed(reply, reply + length, answers);
}

static void receive(int socket) {
    static uint8_t octets[BATCH][MAX_REPLY];
    static char control[BATCH][CMSG_SPACE(sizeof(struct timespec))];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){octets[i], MAX_REPLY};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1,
                                              .msg_control = control[i], .msg_controllen = sizeof control[i]};
    }
    int got = recvmmsg(sockets[socket], messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        struct cmsghdr *header = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        int64_t at = now();
        if (header && header->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
            at = stamp.tv_sec * SECOND + stamp.tv_nsec;
        }
        account(socket, octets[i], messages[i].msg_len, at);
    }
}

// Moves `oldest` past what is answered and what will not be any more.
static void expire(int64_t at) {
    for (; oldest < sent; oldest++) {
        int64_t *slot = &sent_at[oldest % RING];
        if (*slot != 0 && at - *slot < TIMEOUT)
            return;
        lost += *slot != 0;
        *slot = 0;
    }
}

static void run(int64_t count, int64_t rate) {
    int64_t start = now(), end = start + DEADLINE;
    for (int64_t at = start; oldest < count && at < end; at = now()) {
        int64_t most = WINDOW - (sent - answered - lost);
        if (rate > 0) {
            int64_t due = start + (int64_t)((double)sent * (double)SECOND / (double)rate);
            if (at - due > LATE)
                start += at - due;
            most = at >= due && sent - oldest < RING - BATCH;
        }
        if (most > count - sent)
            most = count - sent;
        if (most > 0)
            send_batch(most);
        for (int i = 0; i < SOCKETS; i++)
            receive(i);
        expire(at);
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

// The p99 of each SHORT answers in a row, of those the lower quartile: what the
// server's latency is while nothing else takes its core or ours.
static double p99_quiet(void) {
    static uint32_t each[MAX_COUNT / SHORT];
    size_t n = 0;
    for (int64_t at = 0; at + SHORT <= answered; at += SHORT) {
        qsort(latencies + at, SHORT, sizeof *latencies, ascending);
        each[n++] = latencies[at + SHORT * 99 / 100 - 1];
    }
    qsort(each, n, sizeof *each, ascending);
    return n == 0 ? 0 : each[n / 4] / 1000.0;
}

// Nearest rank, in microseconds.
static double percentile(double share) {
    if (answered == 0)
        return 0;
    return latencies[(int64_t)((double)(answered - 1) * share + 0.5)] / 1000.0;
}

int main(int argc, char **argv) {
    struct sockaddr_in server = {.sin_family = AF_INET};
    if (argc != 7 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
        errx(64, "usage: load ADDRESS PORT FILE COUNT RATE EDNS");
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    int64_t count = atoll(argv[4]), rate = atoll(argv[5]);
    if (count < 1 || count > MAX_COUNT || rate < 0 || rate > 200000)
        errx(64, "COUNT is 1 to %d, RATE 0 to 200000", MAX_COUNT);
    read_queries(argv[3], atoi(argv[6]) == 1);
    if (!(latencies = malloc((size_t)count * sizeof *latencies)))
        err(1, "memory");
    for (int i = 0; i < SOCKETS; i++) {
        int on = 1, room = 1 << 20;
        sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (sockets[i] < 0 || setsockopt(sockets[i], SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
            setsockopt(sockets[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room) < 0 ||
            connect(sockets[i], (struct sockaddr *)&server, sizeof server) < 0)
            err(1, "socket");
    }
    int64_t start = now();
    run(count, rate);
    double seconds = (double)(now() - start) / (double)SECOND;
    lost += sent - answered - lost; // cut off by DEADLINE
    double quiet = p99_quiet(); // before all are sorted
    qsort(latencies, (size_t)answered, sizeof *latencies, ascending);
    printf("{\"sent\": %" PRId64 ", \"answered\": %" PRId64 ", \"lost\": %" PRId64 ", \"noerror\": %" PRId64
           ", \"nxdomain\": %" PRId64 ", \"empty\": %" PRId64 ", \"other\": %" PRId64 ", \"unexpected\": %" PRId64
           ", \"mixed\": %" PRId64 ", \"seconds\": %.3f, \"qps\": %.0f, \"p50_us\": %.1f, \"p99_quiet_us\": %.1f"
           ", \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
           sent, answered, lost, noerror, nxdomain, empty, other, unexpected, mixed, seconds,
           (double)answered / seconds, percentile(0.5), quiet, percentile(0.99), percentile(0.999), percentile(1));
}
