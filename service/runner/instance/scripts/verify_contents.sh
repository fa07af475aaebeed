# shellcheck shell=bash disable=SC2034,SC2154 # verify_checks.sh sets what is not set here
# Is a file what its name says? By its first bytes alone, so that a file of any length costs the same. bash reads it
# before verify_checks.sh.
#
# A server that answers with an error, a login page or a message ends up under the name of a model: curl saves whatever
# comes. So under a name of a model, or a name that says nothing (a number, a hash), text is refused; under .json, .txt,
# .py and the like it belongs. Formats with a magic number (GGUF, zip, PyTorch) are held against it; what else may lie
# under .bin, .onnx and .ckpt is too varied for that.

HEADER_BYTES_MAX=100000000
HEADER_BYTES_FEW=4096
ANSWER_BYTES_MAX=65536
SAID_BYTES_MAX=200

# Sets `suffix`: that of the name, in lower case, without the query of an address and without the number that wget adds
# to a name that is taken; empty for a name that has none.
suffix_of() {
    local name=${1##*/}
    suffix=
    while [[ $name == ?*.* || $name == ?*\?* ]]; do
        suffix=${name##*.} suffix=${suffix,,}
        [[ $name != ?*.* || ! $suffix =~ ^[a-z][a-z0-9]{0,11}$ ]] || return 0
        suffix=
        if [[ $name == *\?* ]]; then name=${name%%\?*}; else name=${name%.*}; fi
    done
}

# Whether a file of this name may not be text. People write LICENSE and Makefile without a suffix.
must_be_binary() {
    suffix_of "$1"
    case $suffix in
        safetensors | safetensor | sft | ckpt | pt | pt2 | pth | bin | pkl | pickle | gguf | ggml | onnx) return 0 ;;
        zip | 7z | rar | tar | gz | tgz | xz | bz2 | zst | h5 | hdf5 | msgpack | npz | npy | tflite | pb | engine | trt)
            return 0
            ;;
        '') ;;
        *) return 1 ;;
    esac
    [[ ! ${1##*/} =~ ^([A-Z][A-Z_-]+|(LICEN[CS]E|NOTICE|README|COPYING).*|[A-Z][a-z]+file)$ ]]
}

# The first words of a file that is the answer of a web server, not a model: its title, its message, or its text.
said_in() {
    local text said=
    text=$(head -c "$ANSWER_BYTES_MAX" -- "$2" | tr '\0\r\n\t' '    ')
    shopt -s nocasematch
    if [ "$1" = html ]; then
        [[ $text =~ '<title'[^\>]*'>'[[:space:]]*([^\<]*) ]] && said=${BASH_REMATCH[1]}
    elif [ "$1" = xml ]; then
        [[ $text =~ '<message>'([^\<]*) ]] && said=${BASH_REMATCH[1]}
    elif [ "$1" = text ]; then
        said=$text
    elif [[ $text =~ \"(message|error_description|detail|error)\"[[:space:]]*:[[:space:]]*\"(([^\"\\]|\\.)*) ]]; then
        said=${BASH_REMATCH[2]}
    fi
    shopt -u nocasematch
    encoded "${said:0:SAID_BYTES_MAX}"
}

# Whether this is not a model but a page, a message or any text that was saved under its name.
is_answer() {
    local file=$1 size=$2 head kind=
    # It ends before a NUL: no text holds one.
    ! IFS= read -r -d '' -n 1024 head <"$file" || [ "${#head}" = 1024 ] || return 1
    head=${head//[$'\r\n\t\f\v']/ }
    case $head in *$'\001'* | '') return 1 ;; esac
    head=${head#$'\xef\xbb\xbf'}
    head=${head#"${head%%[! ]*}"}
    case ${head,,} in
        'version https://git-lfs.github.com/'*) bad pointer && return ;;
        '<!doctype html'* | '<html'*) case ${file,,} in *.html | *.htm | *.xhtml | *.md) ;; *) kind=html ;; esac ;;
        '<?xml'*) ! must_be_binary "$file" || kind=xml ;;
        '{'*) ! must_be_binary "$file" || [ "$size" -gt "$ANSWER_BYTES_MAX" ] || kind=json ;;
    esac
    if [ -z "$kind" ]; then
        # Text has none of these characters; a page may hold anything but NUL.
        case $head in *[$'\001'-$'\010'$'\016'-$'\032'$'\034'-$'\037'$'\177']*) return 1 ;; esac
        must_be_binary "$file" || return
        bad text "$size" "$(said_in text "$file")"
        return
    fi
    bad "$kind" "$(said_in "$kind" "$file")"
}

# What a file begins with: GGUF, a zip archive (also what PyTorch writes since 1.6), a pickle, a tar archive (PyTorch
# before 0.2), or `other`.
magic_of() {
    local bytes
    bytes=$(od -An -v -tx1 -N 4 -- "$1")
    case ${bytes// /} in
        47475546) magic=gguf ;;
        504b0304 | 504b0506 | 504b0708) magic=zip ;;
        800[1-5]*) magic=pickle ;;
        89504e47) magic=png ;;
        *)
            magic=other
            [ "$(tail -c +258 -- "$1" | head -c 5 | tr '\0' ' ')" != ustar ] || magic=tar
            ;;
    esac
}

# Whether a file of a format with a magic number begins with it; `has_magic` says that it was looked at.
begins_right() {
    local file=$1 magic=other
    has_magic=
    suffix_of "$file"
    case $suffix in gguf | zip | pt | pth) ;; *) return 0 ;; esac
    magic_of "$file"
    case $suffix:$magic in
        gguf:gguf | zip:zip | pt:zip | pt:pickle | pt:tar | pth:zip | pth:pickle | pth:tar)
            has_magic=1
            ;;
        *) bad magic "$suffix" "$magic" && return 1 ;;
    esac
}

# ComfyUI lists files by their suffix: a model under another name is there, and nobody sees it.
is_unlisted() {
    local magic suffix
    case $1 in "$home/models"/*) ;; *) return 1 ;; esac
    case ${1##*/} in
        *.*) case ${1,,} in *.safetensors | *.sft | *.ckpt | *.pt | *.pt2 | *.pth | *.bin | *.pkl | *.gguf | *.onnx) return 1 ;; esac ;;
    esac
    suffix_of "$1"
    case ${1,,} in *".$suffix") [ -z "$suffix" ] || is_weights "$1" ;; *) must_be_binary "$1" ;; esac
}

# Whether it holds the weights of a model, whatever its name. A zip archive is one only under a name that says so.
is_weights() {
    local first
    magic_of "$1"
    case $magic in gguf | pickle) return 0 ;; esac
    first=$(tail -c +9 -- "$1" | head -c 1 | tr '\0' ' ')
    [ "$magic" = other ] && [ "$first" = '{' ] && [ -z "$(head -c 8 -- "$1" | tail -c 2 | tr -d '\0')" ]
}

# The greatest end among the data offsets of a header. A tensor's name may hold anything but a bare quote, so between
# quotes only the key itself reads data_offsets.
data_end() {
    tail -c +9 -- "$1" | head -c "$2" | tr -d ' \t\r\n' | tr '"' '\n' | grep -a -A 1 -x data_offsets |
        sed -n 's/^:\[[0-9]\{1,18\},\([0-9]\{1,18\}\)\].*/\1/p' | sort -n | tail -n 1
}

# Sets `end` to the same for a header that stands in `text`, without blanks.
data_end_in_text() {
    local one='"data_offsets":\[[0-9]{1,18},([0-9]{1,18})\]'
    end=0
    while [[ $text =~ $one ]]; do
        [ "$((10#${BASH_REMATCH[1]}))" -le "$end" ] || end=$((10#${BASH_REMATCH[1]}))
        text=${text#*"${BASH_REMATCH[0]}"}
    done
}

# Sets `bytes` to the first eight of file $1, as numbers, and `length` to what they say. Sets `text` to what follows, as
# long as they say, if that is a few bytes without NUL, else `first` to its first character. The shell reads this itself:
# a process for each look costs more than all of it.
read_header() {
    local byte descriptor place
    bytes=() length=0 first='' text=''
    exec {descriptor}<"$1" || return 0
    for place in 0 1 2 3 4 5 6 7; do
        IFS= read -r -d '' -n 1 -u "$descriptor" byte || break
        printf -v byte %d "'$byte"
        bytes+=($((byte & 255)))
    done
    for place in 7 6 5 4 3 2 1 0; do
        [ "$length" -le "$HEADER_BYTES_MAX" ] && length=$((length * 256 + ${bytes[place]:-0}))
    done
    if [ "$length" -gt "$HEADER_BYTES_FEW" ]; then
        IFS= read -r -d '' -n 1 -u "$descriptor" first && first=${first:- }
    elif IFS= read -r -d '' -n "$length" -u "$descriptor" text; then
        first=${text:0:1} first=${first:- }
    else
        first=${text:0:1}
    fi
    [ "${#text}" = "$length" ] || text=
    exec {descriptor}<&-
}

# safetensors: eight bytes say how long the JSON header is, and its offsets say where the file ends.
has_header() {
    local file=$1 size=$2 bytes length first text last end
    if [ "$size" -lt 8 ]; then
        bad short $((8 - size)) 8
        return 1
    fi
    read_header "$file"
    if [ "${#bytes[@]}" != 8 ]; then
        bad unreadable
        return 1
    fi
    if [ "$length" -gt "$HEADER_BYTES_MAX" ]; then
        bad header_claim
        return 1
    fi
    if [ "$length" -lt 2 ] || { [ -n "$first" ] && [ "$first" != '{' ]; }; then
        bad header
        return 1
    fi
    if [ "$size" -lt $((8 + length)) ]; then
        bad short_header $((8 + length - size)) "$length"
        return 1
    fi
    text=${text//[$' \t\r\n']/}
    last=${text: -1}
    [ -n "$text" ] || last=$(tail -c +9 -- "$file" | head -c "$length" | tr -d ' \t\r\n\0' | tail -c 1)
    if [ "$last" != '}' ]; then
        bad header
        return 1
    fi
    if [ -n "$text" ]; then data_end_in_text; else end=$(data_end "$file" "$length"); fi
    end=$((8 + length + 10#${end:-0}))
    if [ "$size" -lt "$end" ]; then
        bad short $((end - size)) "$end"
    elif [ "$size" -gt "$end" ]; then
        bad long $((size - end)) "$end"
    else
        return 0
    fi
    return 1
}
