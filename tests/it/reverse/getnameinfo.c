/* What getnameinfo() says of each address given: its name, or the error. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        char name[NI_MAXHOST];
        int error;
        memset(&v4, 0, sizeof v4);
        memset(&v6, 0, sizeof v6);
        v4.sin_family = AF_INET;
        v6.sin6_family = AF_INET6;
        if (inet_pton(AF_INET, argv[i], &v4.sin_addr) == 1)
            error = getnameinfo((struct sockaddr *)&v4, sizeof v4, name, sizeof name, NULL, 0,
                                NI_NAMEREQD);
        else if (inet_pton(AF_INET6, argv[i], &v6.sin6_addr) == 1)
            error = getnameinfo((struct sockaddr *)&v6, sizeof v6, name, sizeof name, NULL, 0,
                                NI_NAMEREQD);
        else
            return 64;
        if (error)
            printf("%s error\n", argv[i]);
        else
            printf("%s %s\n", argv[i], name);
    }
    return 0;
}
