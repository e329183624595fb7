#!/usr/bin/env bash
# Renders readings by many text-to-speech voices (flite and festival), as speech sources for a
# corpus. The English voices read the GPL, the others read invented words of their language's
# syllables. espeak-ng is left out on purpose: it is reserved for tests.
#
#   voices.sh OUT    writes OUT/VOICE/VOICE-N.wav: 16 kHz mono 16-bit, 12 files per voice,
#                    each 12 to 20 s long, with a peak of -3 dBFS
#
# The same files come out each time; those that exist are kept. The Debian packages are below.
set -euo pipefail
export LC_ALL=C.UTF-8
if [ $# -ne 1 ] || [ -z "$1" ] || [[ $1 == -* ]]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
export OUT=$1

packages="sox flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts
  festvox-italp16k festvox-itapc16k festvox-suopuhe-common festvox-suopuhe-lj festvox-suopuhe-mv
  festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph festvox-ca-ona-hts
  festvox-hi-nsk festvox-mr-nsk festvox-te-nsk festival-hi festival-mr festival-te festvox-ru"

# Program, voice, language, and what a file of about 16 s takes: letters in English, else words.
voices="flite kal16 en 260
flite awb en 260
flite rms en 240
flite slt en 280
festival kal_diphone en 250
festival ked_diphone en 240
festival cmu_us_slt_arctic_hts en 245
festival lp_diphone it 34
festival pc_diphone it 34
festival upc_ca_ona_hts it 34
festival suo_fi_lj_diphone fi 36
festival hy_fi_mv_diphone fi 36
festival czech_dita cs 36
festival czech_krb cs 36
festival czech_machac cs 36
festival czech_ph cs 36
festival msu_ru_nsh_clunits ru 31
festival hindi_NSK_diphone hi 29
festival marathi_NSK_diphone hi 29
festival telugu_NSK_diphone te 32"

# text LANGUAGE SIZE K: the K-th text. A sentence's last word has two syllables at least, since a
# short one with a full stop reads as an abbreviation.
text() {
  local onsets vowels codas
  case $1 in
    en) tr -cs "A-Za-z,.;'" ' ' </usr/share/common-licenses/GPL-3 | fold -s -w "$2" | sed -n "$(($3 + 1))s/\$/./p"
        return ;;
    it) onsets="b c d f g l m n p r s t v z pr tr st gr" vowels="a e i o a e o u" codas="- - - - n r l" ;;
    fi) onsets="h j k l m n p r s t v k t l" vowels="a e i o u aa ii uu y ai ie uo" codas="- - - n s l" ;;
    cs) onsets="b c d h j k l m n p r s t v z st pr kr" vowels="a e i o u a e o y" codas="- - - m k s l" ;;
    ru) onsets="б в г д з к л м н п р с т ф х ж ш ст пр" vowels="а е и о у я ы а о" codas="- - - н р й л" ;;
    hi) onsets="क ख ग च ज ट ड त द न प ब म य र ल व स ह श" vowels="ा ि ी ु ू े ो ा े -" codas="- - - न र ल" ;;
    te) onsets="క ఖ గ చ జ ట డ త ద న ప బ మ య ర ల వ స హ శ" vowels="ా ి ీ ు ూ ె ే ో -" codas="-" ;;
  esac
  awk -v n="$2" -v k="$3" -v o="$onsets" -v v="$vowels" -v c="$codas" '
    function draw(m) { x = x * 16807 % 2147483647; return int(x / 2147483647 * m) }
    function pick(list, a) { a = A[list, draw(N[list])]; return a == "-" ? "" : a }
    function fill(list, s,  T, i) { N[list] = split(s, T, " "); for (i in T) A[list, i - 1] = T[i] }
    BEGIN {
      x = 7919 * (k + 1); for (i = 0; i < 9; i++) draw(1)
      fill("o", o); fill("v", v); fill("c", c)
      for (i = 1; i <= n; i++) {
        last = i == n || i % 11 == 0
        for (s = last + 1 + draw(3); s > 0; s--) printf "%s%s", pick("o"), pick("v")
        printf "%s%s", pick("c"), last ? ".\n" : draw(6) ? " " : ", "
      }
    }'
}

# render K PROGRAM VOICE LANGUAGE SIZE N: the file N of a voice.
render() {
  name=$2-$3 file=$OUT/$2-$3/$2-$3-$6.wav
  [ ! -e "$file" ] || return 0
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp" "$file.part"' EXIT
  mkdir -p "$OUT/$name"
  text "$4" "$5" "$1" >"$tmp/text"
  case $2 in
    flite) flite -voice "$3" -f "$tmp/text" -o "$tmp/raw.wav" ;;
    festival) text2wave -eval "(voice_$3)" "$tmp/text" -o "$tmp/raw.wav" ;;
  esac >"$tmp/log" 2>&1 && [ -s "$tmp/raw.wav" ] || { echo "$name-$6: no speech" >&2; cat "$tmp/log" >&2; return 1; }
  sox -D -V1 "$tmp/raw.wav" -t wav -b 16 "$file.part" channels 1 rate 16000 norm -3
  mv "$file.part" "$file"
}
export -f text render

have=" $(flite -lv || :) $(festival -b '(print (voice.list))' | tr '()' '  ' || :) $(command -v sox >/dev/null && echo ' sox ' || :)"
for need in $(cut -d ' ' -f 2 <<<"$voices") sox; do
  [[ $have == *" $need "* ]] || { echo "no $need; try: apt-get install" $packages >&2; exit 1; }
done

k=0
while read -r line; do
  for n in {1..12}; do echo "$((k++)) $line $n"; done
done <<<"$voices" | xargs -P 2 -L 1 bash -c 'set -euo pipefail; render "$@"' render
