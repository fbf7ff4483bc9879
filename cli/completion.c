#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void key_word(void *context, const char *key, const char *type, const char *default_text,
                     const char *help, bool available) {
    (void)context;
    (void)type;
    (void)default_text;
    (void)help;
    /* keys with a free part, such as objects.tables.*.where, cannot be completed */
    if (available && strchr(key, '*') == NULL)
        printf(" %.*s", (int)strcspn(key, "["), key);
}

static void command_flags(const Command *command) {
    printf("    %s) flags=\"", command->name);
    for (size_t at = 0; at < flag_count; at++)
        if (flags[at].group & command->flags)
            printf(" %s", flags[at].name);
    puts("\" ;;");
}

static void script_print(void) {
    printf("_walferry() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags=\n"
           "    local commands=\"");
    for (size_t at = 0; at < command_count; at++)
        if (!commands[at].hidden && commands[at].run != NULL)
            printf(" %s", commands[at].name);
    printf("\"\n    local keys=\"");
    config_visit(key_word, NULL);
    puts("\"\n    COMPREPLY=()\n    case ${COMP_WORDS[1]} in");
    for (size_t at = 0; at < command_count; at++)
        if (commands[at].run != NULL)
            command_flags(&commands[at]);
    puts("    esac\n"
         "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
         "        COMPREPLY=($(compgen -W \"$commands\" -- \"$word\"))\n"
         "    elif [ \"$before\" = --set ]; then\n"
         "        compopt -o nospace\n"
         "        COMPREPLY=($(compgen -W \"$keys\" -S = -- \"$word\"))\n"
         "    elif [ \"$before\" = --log-level ]; then\n"
         "        COMPREPLY=($(compgen -W \"debug info warn error\" -- \"$word\"))\n"
         "    elif [ \"$before\" = --log-format ]; then\n"
         "        COMPREPLY=($(compgen -W \"text json\" -- \"$word\"))\n"
         "    elif [ \"${COMP_WORDS[1]}\" = help ]; then\n"
         "        COMPREPLY=($(compgen -W \"$commands keys\" -- \"$word\"))\n"
         "    elif [ \"${word#-}\" != \"$word\" ]; then\n"
         "        COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n"
         "    fi\n"
         "}\n"
         "complete -o default -F _walferry walferry");
}

int cmd_completion(const Arguments *arguments) {
    if (arguments->word_count == 1 && strcmp(arguments->words[0], "bash") == 0) {
        script_print();
        return EXIT_DONE;
    }
    Error e;
    fail(&e, ERR_CONFIG, "completion is made for one shell: bash");
    fail_hint(&e, "source <(walferry completion bash)");
    return cli_failed(&e);
}
