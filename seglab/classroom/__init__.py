"""Hand out assignments, collect and grade them, with nbgrader: `seglab classroom`.

`questions` says what a hidden test is; `answers` runs in the student's kernel; `kernel` starts that, confined by
`confine`; `grading` joins them to nbgrader; `course` makes the folder, and `collect` fills it.
"""
